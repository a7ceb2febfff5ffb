"""What a start-up of vLLM takes, in its order."""
