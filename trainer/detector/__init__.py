"""Trains, exports and judges edgeface's own face detector: ``python -m trainer.detector --help``."""
