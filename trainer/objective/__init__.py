"""Training losses, task balancing, optimiser."""
