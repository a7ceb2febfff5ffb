"""`stackc models`: what the registry knows, for people and for programs."""
