"""Families of GANs, layers and losses, in plain single-device torch; no rank, no params file."""
