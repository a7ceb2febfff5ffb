"""Licences of stacks: the lines and the document of `stackc licenses`."""
