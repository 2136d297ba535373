"""The trainer's verbs."""
