"""Stages, commands, and the only doors to Ray and MLflow; no tensor is computed here."""
