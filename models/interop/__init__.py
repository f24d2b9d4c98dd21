"""Authors' checkpoints to ours. Data only: no published code is used or needed."""
