"""Registries on 127.0.0.1, and what stackc makes of their answers."""
