"""Options of `llama-server`: which there are, which a spec may give, and what values they take."""
