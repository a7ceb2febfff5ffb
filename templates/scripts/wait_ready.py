#!/usr/bin/env python3
"""Wait until a server answers, or say at once that it never will.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes: 0 ready, 2 usage, 3 not ready in time, 4 the process is gone, the engine is dead or there is no plan.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # this folder must stay as it was committed

from _server import Server, ServerError  # noqa: E402
from _stack import EXIT_USAGE, StackError, choose_services, load_plan, probe_host, run_program  # noqa: E402

EXIT_LATE, EXIT_GONE = 3, 4
INTERVAL_SECONDS = 0.5
PROBE_SECONDS = 5.0
# vLLM answers 503 only once its engine is dead, and it does not come back. Three in a row leave no doubt.
DEAD_ANSWERS = 3


class Process:
    """A process that must stay alive. Its start time tells it from a later one with the same number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._born = self._state()[1]

    def is_gone(self) -> bool:
        """Whether it ended, reaped or not."""
        state, born = self._state()
        return state in ("", "Z", "X") or born != self._born

    def _state(self) -> tuple[str, str]:
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "", ""
        # The name, in parentheses, may hold anything; the state and the start time are fields 3 and 22.
        fields = text.rpartition(")")[2].split()
        return fields[0], fields[19]


def wait(server: Server, process: Process | None, seconds: float) -> int:
    """Poll until ready (0), out of time (3) or beyond hope (4)."""
    start = time.monotonic()
    dead_answers = 0
    while True:
        if process is not None and process.is_gone():
            return _say(EXIT_GONE, f"process {process.pid} is gone: its own output says why")
        status = _probe(server)
        elapsed = time.monotonic() - start
        if status == 200 and not (process is not None and process.is_gone()):
            return _say(0, f"ready after {elapsed:.0f} s")
        dead_answers = dead_answers + 1 if status == 503 else 0
        if dead_answers >= DEAD_ANSWERS:
            return _say(EXIT_GONE, "the engine is dead: /health answers 503")
        if elapsed >= seconds:
            return _say(EXIT_LATE, f"not ready after {elapsed:.0f} s on {server.host}:{server.port}")
        time.sleep(min(INTERVAL_SECONDS, max(0.0, seconds - elapsed)))


def _probe(server: Server) -> int | None:
    try:
        return server.request("GET", "/health").status
    except ServerError:
        return None


def _say(code: int, message: str) -> int:
    print(f"wait-ready: {message}", file=sys.stderr if code else sys.stdout)
    return code


def main() -> int:
    """Read the command line and wait."""
    parser = argparse.ArgumentParser(description="Wait until a server answers /health.")
    parser.add_argument("service")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="default: as planned")
    parser.add_argument("--pid", type=int, help="fail at once when this process is gone; default: $MAINPID")
    options = parser.parse_args()
    service = choose_services(load_plan(), [options.service])[0]
    pid = options.pid if options.pid is not None else _main_pid()
    seconds = service["timeouts"]["ready_seconds"] if options.timeout is None else options.timeout
    server = Server(probe_host(service), service["port"], None, PROBE_SECONDS)
    return wait(server, Process(pid) if pid is not None else None, seconds)


def _main_pid() -> int | None:
    text = os.environ.get("MAINPID", "")
    if text and not text.isdigit():
        raise StackError(EXIT_USAGE, f"MAINPID is not a number: {text}")
    return int(text) if text else None


if __name__ == "__main__":
    run_program(main)
