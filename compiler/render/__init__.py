"""Text from templates and values: the Jinja environment, quoting per syntax, and the Artifact."""
