"""Check what a user asks a model for, before anything heavy is loaded; no torch here."""
