"""By which kernels vLLM runs a model on a device."""
