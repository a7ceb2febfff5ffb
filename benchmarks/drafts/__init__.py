"""Drafts beside models: rows of vLLM's own answers, and what the ledger says of them."""
