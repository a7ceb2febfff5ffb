"""Readers of models with latent attention."""
