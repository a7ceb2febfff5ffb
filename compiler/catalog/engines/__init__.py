"""Data extracted from vLLM releases, one folder each: flags.json and architectures.json, written by tools/extract_*.py."""
