"""A second model, or a lookup, that guesses tokens."""
