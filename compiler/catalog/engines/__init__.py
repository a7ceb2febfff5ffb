"""Data extracted from vLLM releases, one folder each: flags.json and architectures.json, by tools/extract_*.py."""
