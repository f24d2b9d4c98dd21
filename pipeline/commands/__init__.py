"""What a person types beside the stages: draw, import, report. No stage depends on a command."""
