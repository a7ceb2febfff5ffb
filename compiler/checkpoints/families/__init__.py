"""From config.json to an architecture: a reader for each family of models."""
