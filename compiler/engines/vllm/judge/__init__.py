"""What vLLM runs on a machine, and by which kernels."""
