"""One module per stage of dvc.yaml, and the frame around each. Paths arrive as arguments, never as literals."""
