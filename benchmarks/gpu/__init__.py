"""What a session on a GPU machine measures."""
