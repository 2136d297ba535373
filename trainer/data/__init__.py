"""Training data: manifests, cached crops, samples, batches."""
