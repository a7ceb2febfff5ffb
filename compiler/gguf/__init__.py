"""GGUF, llama.cpp's file format: what a header says, before anything is asked of an engine."""
