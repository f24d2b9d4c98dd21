"""The mirror in MLflow: written to, never read from by a stage. `mlflow` is imported in mlflow_door.py alone."""
