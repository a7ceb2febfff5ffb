"""What memory depends on in a GGUF model: its architecture, its keys, and its layers one by one."""
