"""What start-ups of llama-server say of its memory, and a release with that in place of the estimate."""
