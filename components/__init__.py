"""How models are trained and used: data, training, evaluation, artifacts; no Ray, MLflow or DVC."""
