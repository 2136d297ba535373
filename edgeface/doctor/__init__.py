"""What this machine has and which model files would load on it."""
