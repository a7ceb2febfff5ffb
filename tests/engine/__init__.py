"""Tests against a real vLLM on the CPU, from .engine/."""
