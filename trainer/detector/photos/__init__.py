"""Real photographs as training images: labelled once, cropped and turned anew for every step."""
