"""Readers of models with recurrent states, beside attention or alone."""
