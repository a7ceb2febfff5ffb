"""Facts about GPUs and about vLLM releases, each with its source."""
