"""Speed of models, of the GPU pipeline and of whole runs, side by side."""
