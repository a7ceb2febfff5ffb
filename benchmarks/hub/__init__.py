"""A Hub on this machine, and who asks it."""
