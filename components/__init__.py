"""How it runs: data, training, evaluation, artifacts; no Ray, no MLflow, no DVC."""
