"""Augmentation of crops and mixing of batches."""
