"""Copy runs to MLflow; no stage reads this copy, and only mlflow_door.py imports `mlflow`."""
