"""A plan to look at: typed pictures of it, for the terminal and for a page. Nothing is decided here."""
