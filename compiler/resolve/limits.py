"""Bounds on what is read from outside: generous for any real model, and finite."""

# The index of the largest mixture-of-experts models is some 20 MB; configurations are far below.
MAX_SMALL_FILE = 64 << 20
# The lock keeps configurations whole.
MAX_CONFIG = 1 << 20
# Seconds without a byte before a request is given up.
TIMEOUT = 10.0
# Tries of a request that a server or the network failed, and the seconds before the second one.
TRIES = 3
PAUSE = 0.5
# Seconds that one answer may take in all, however steadily it drips.
SLOWEST = 120.0
# Seconds that a run waits, in all, for a Hub that limits the rate of requests.
LONGEST_WAIT = 60.0
# Requests that are under way at once: the connections that the HTTP library keeps open.
REQUESTS_AT_ONCE = 20
# Repositories that are read at once.
REPOSITORIES_AT_ONCE = 12
# Files of one repository that are read at once.
FILES_AT_ONCE = 8
# One page of a listing.
LISTING = 1000
# Branches of one repository that are read beside `main`.
BRANCHES = 8
