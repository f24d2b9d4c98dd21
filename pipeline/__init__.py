"""What runs: the stages, the commands, and the only doors to Ray and MLflow. No tensor is computed here."""
