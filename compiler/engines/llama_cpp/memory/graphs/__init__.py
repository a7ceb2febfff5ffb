"""The graph of a ubatch, node by node, and the allocator that lays it out: a card's compute buffer to the byte."""
