"""The one training loop, its state and its clock; it knows phases, never a family."""
