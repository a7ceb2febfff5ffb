"""`stackc recommend`: models for a wish, for people, for programs and as a spec."""
