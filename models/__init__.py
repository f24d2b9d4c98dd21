"""What it is: families, layers, losses; plain single-device torch, no rank and no params file."""
