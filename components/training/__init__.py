"""The one training loop, its state and its clock. It knows phases, never a family."""
