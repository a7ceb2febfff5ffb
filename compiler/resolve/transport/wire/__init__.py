"""One request and its answer on the wire: how long it may take, where it may lead, how much of it is held."""
