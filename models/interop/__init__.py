"""Convert the authors' checkpoints to ours; files are read as data and never run.

Nobody trusts these files.
"""
