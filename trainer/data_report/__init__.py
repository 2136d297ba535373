"""A report on training data: near-duplicates, odd labels, faults."""
