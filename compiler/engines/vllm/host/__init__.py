"""What a machine and its operators see of vLLM: variables, packages, metrics and times."""
