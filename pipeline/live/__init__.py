"""Show what a running command does now, in one place on the screen; nothing is computed here."""
