"""Which models and cards suit each other: questions without a file, answered by the solver itself. Pure."""
