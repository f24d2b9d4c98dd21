"""params.yaml, read and checked before anything else happens. No torch, no stage, no command."""
