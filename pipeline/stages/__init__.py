"""One module per stage of dvc.yaml, all in one frame (frame.py); paths are arguments.

No path is a literal in them.
"""
