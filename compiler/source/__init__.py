"""YAML files with a span for every key and value."""
