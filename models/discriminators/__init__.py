"""Discriminators, one file per family."""
