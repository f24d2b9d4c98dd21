"""One module per stage of dvc.yaml, in one frame; paths arrive as arguments, not as literals."""
