"""What a generator is worth, in numbers with their cards. Nothing that trains reads the judge."""
