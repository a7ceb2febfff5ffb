"""Readers of models with experts."""
