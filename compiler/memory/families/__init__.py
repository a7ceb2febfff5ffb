"""Readers of config.json, a file for each kind of model, by the rules of vLLM's model code."""
