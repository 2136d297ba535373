"""Pixels and geometry: reading images, alignment, preprocessing, decoding of detector outputs."""
