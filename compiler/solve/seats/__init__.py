"""The search for a node for every service."""
