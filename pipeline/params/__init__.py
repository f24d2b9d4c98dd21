"""Read and check params.yaml before all else; no torch, no stage and no command here."""
