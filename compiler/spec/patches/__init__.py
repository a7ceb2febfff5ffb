"""Patches of a spec: keys added to what is emitted, checked against the keys and decisions of each target."""
