"""The pipeline on an NVIDIA GPU: one upload and one download a frame, captured as CUDA graphs."""
