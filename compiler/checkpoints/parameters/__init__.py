"""Tensors of a module as stored and as loaded, a rank's share of them, and headers against config.json."""
