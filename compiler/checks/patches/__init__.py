"""Keys that a spec adds to what is emitted, checked against the keys and decisions of each target."""
