"""How it runs: data, training, evaluation, artifacts. Knows torch.distributed; not Ray, MLflow or DVC."""
