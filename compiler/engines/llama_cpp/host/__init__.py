"""What a machine and its operators see of llama.cpp: variables, images, metrics and times."""
