"""What runs: stages, commands, the only doors to Ray and MLflow; no tensor is computed here."""
