"""What start-ups of vLLM say of its memory, and its overheads with that in place of constants."""
