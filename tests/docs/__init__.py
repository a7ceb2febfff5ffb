"""The documentation: what it shows is real, what it names exists, and it builds."""
