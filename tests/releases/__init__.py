"""A release beside the pinned one, as a newcomer would add it: vLLM 0.31.0 was, and is no release of stackc."""
