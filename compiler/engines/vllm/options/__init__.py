"""Options of `vllm serve`: which there are, which a spec may give, and what values they take."""
