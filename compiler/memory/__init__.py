"""Pure byte arithmetic: what a model's weights, KV cache and buffers take on one rank."""
