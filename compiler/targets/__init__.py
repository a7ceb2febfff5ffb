"""One module per target: plan → typed document → artifacts. Targets never import each other."""
