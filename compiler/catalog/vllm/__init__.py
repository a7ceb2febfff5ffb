"""What is on record of vLLM's releases: options, architectures, metrics, measured overheads."""
