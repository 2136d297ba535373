"""Real photographs as training images: labelled once, cropped and turned afresh for every step."""
