"""Measurements of real start-ups in place of constants: read from vLLM's logs, kept in a file that a spec names."""
