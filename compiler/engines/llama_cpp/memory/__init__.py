"""What one server of llama.cpp takes of each device and of the host, row by row."""
