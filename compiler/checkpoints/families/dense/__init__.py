"""Readers of models whose layers are all alike and whole, generating or embedding."""
