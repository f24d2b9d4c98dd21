"""params.yaml, read and checked before all else; no torch, no stage and no command here."""
