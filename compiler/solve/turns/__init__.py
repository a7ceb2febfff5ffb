"""Services that take turns on the devices of one node. No key of a spec asks for it yet."""
