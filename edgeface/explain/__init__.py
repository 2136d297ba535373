"""Maps of where in a face a prediction comes from."""
