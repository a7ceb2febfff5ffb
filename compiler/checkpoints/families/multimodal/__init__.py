"""Readers of models that see or hear: a language model and its towers."""
