"""Soft labels from other networks: embeddings, probes, distillation."""
