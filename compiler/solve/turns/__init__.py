"""Services that take turns on the devices of one node."""
