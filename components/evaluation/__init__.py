"""What a generator is worth, each number with its card; nothing here trains."""
