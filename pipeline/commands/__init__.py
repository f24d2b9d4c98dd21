"""What a person types beside the stages: draw, import, report; no stage needs a command."""
