"""Every place where stackc, or what it emits, removes or replaces a file: the table, and the test that it is whole."""
