"""The KV cache as vLLM lays it out: blocks, groups, states."""
