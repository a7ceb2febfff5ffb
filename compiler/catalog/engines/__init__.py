"""Data extracted from vLLM releases, one folder each; flags.json is written by tools/extract_flags.py."""
