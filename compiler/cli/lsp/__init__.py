"""A language server: what editors show of a spec while it is written. Alone to know pygls, which is optional."""
