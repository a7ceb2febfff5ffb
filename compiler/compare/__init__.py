"""What changed between two versions of generated trees, in the words of a plan, and what an upgrade restarts."""
