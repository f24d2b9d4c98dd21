"""Measure how good a generator is, each number with its card; nothing is trained here."""
