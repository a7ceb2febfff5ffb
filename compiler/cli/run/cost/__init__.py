"""What stacks cost: the figures, the lines and the document of `stackc cost`."""
