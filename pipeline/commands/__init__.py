"""Commands that a person types, besides the stages: draw, import, report; no stage needs them."""
