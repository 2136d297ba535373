"""The CUDA driver, kernels and everything that touches a device; kernels' arithmetic also runs on the CPU."""
