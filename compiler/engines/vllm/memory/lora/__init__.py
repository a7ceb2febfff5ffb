"""Room for adapters."""
