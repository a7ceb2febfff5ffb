"""A solution becomes a plan."""
