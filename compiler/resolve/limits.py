"""Bounds on what is read from outside: generous for any real model, and finite."""

# The index of the largest mixture-of-experts models is some 20 MB; configurations are far below.
MAX_SMALL_FILE = 64 << 20
# Seconds without a byte before a request is given up.
TIMEOUT = 10.0
# Tries of a request that a server or the network failed, and the seconds before the second one.
TRIES = 3
PAUSE = 0.5
# Repositories that are read at once.
REPOSITORIES_AT_ONCE = 6
# One page of a listing.
LISTING = 1000
