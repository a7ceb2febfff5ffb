"""The page of every code, as Markdown: what `stackc explain CODE` prints."""
