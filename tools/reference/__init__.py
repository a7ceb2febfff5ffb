"""Pages of the reference, each made of the source that it describes: a page is its path below docs/ and its text."""
