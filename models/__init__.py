"""What it is: networks, losses, families. Plain single-device torch; no rank, no file of params."""
