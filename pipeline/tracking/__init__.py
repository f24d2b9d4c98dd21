"""The mirror in MLflow, which no stage reads; only mlflow_door.py imports `mlflow`."""
