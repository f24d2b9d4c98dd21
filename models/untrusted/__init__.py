"""Read what nobody trusts: sizes are bounded before anything is read or built; no family here."""
