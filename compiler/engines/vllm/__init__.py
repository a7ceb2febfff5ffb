"""All that is vLLM's."""
