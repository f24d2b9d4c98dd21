"""Losses and schedules that families share: pure functions, one value per sample, no state."""
