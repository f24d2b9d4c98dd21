"""What a user asks a model for, checked before anything heavy is loaded. No torch here."""
