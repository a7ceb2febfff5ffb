"""A server of the fakes in a process of its own, which can be killed: `python -m tests.gateway.replica NAME PORT`."""

from __future__ import annotations

import sys

from tests.gateway.servers import FakeServer


def main() -> None:
    """Serve until the end, each answer after a moment, so that some are always on their way."""
    name, port = sys.argv[1:]
    server = FakeServer(name, int(port))
    server.delay = 0.2
    server.serve_forever()


if __name__ == "__main__":
    main()
