"""One measurement each, with its results file."""
