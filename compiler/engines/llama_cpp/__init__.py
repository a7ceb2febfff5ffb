"""llama.cpp's `llama-server`: what it does with a GGUF model."""
