"""What a user asks a model for, checked before anything heavy is loaded; no torch here."""
