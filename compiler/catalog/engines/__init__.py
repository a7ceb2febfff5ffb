"""Data extracted from vLLM releases, a folder each: flags.json and architectures.json, by tools/extract_*.py."""
