"""Wait until a server answers, or say at once that it never will.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes: 0 ready, 2 usage, 3 not ready in time, 4 the process is gone, the engine is dead or there is no plan.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from typing import NamedTuple

from stack import (
    EXIT_USAGE,
    StackError,
    choose_answering,
    end_well_when_stopped,
    engine_of,
    load_plan,
    probe_host,
)
from stack.ask.server import Process, Server, ServerError

EXIT_LATE, EXIT_GONE = 3, 4
INTERVAL_SECONDS = 0.5
PROBE_SECONDS = 5.0
# vLLM answers 503 only once its engine is dead, and it does not come back. Three in a row leave no doubt.
# llama-server listens first, answers 503 while it loads, and ends where it cannot (tools/server/server.cpp).
DEAD_ANSWERS = 3


class Outcome(NamedTuple):
    """How the wait ended, as an exit code and in words, and after how many seconds."""

    code: int
    message: str
    seconds: float


def wait(host: str, port: int, process: Process | None, seconds: float, *, may_load: bool = False) -> Outcome:
    """Poll until ready (0), out of time (3) or beyond hope (4). `may_load`: 503 says that it is not ready yet."""
    start = time.monotonic()
    dead_answers = 0
    while True:
        if process is not None and process.is_gone():
            return Outcome(EXIT_GONE, f"process {process.pid} is gone: its own output says why", _since(start))
        left = seconds - _since(start)
        status, seen = _probe(host, port, min(PROBE_SECONDS, max(left, 0.1)))
        # Another server may have the port: an answer counts only while the process lives.
        if status == 200 and not (process is not None and process.is_gone()):
            return Outcome(0, f"ready after {_since(start):.0f} s", _since(start))
        dead_answers = dead_answers + 1 if status == 503 and not may_load else 0
        if dead_answers >= DEAD_ANSWERS:
            return Outcome(EXIT_GONE, "the engine is dead: /health answers 503", _since(start))
        if _since(start) >= seconds:
            loads = ", it still loads" if status == 503 and may_load else ""
            message = f"not ready after {_since(start):.0f} s on {host}:{port}: {seen}{loads}"
            return Outcome(EXIT_LATE, message, _since(start))
        time.sleep(min(INTERVAL_SECONDS, max(0.0, seconds - _since(start))))


def _since(start: float) -> float:
    return time.monotonic() - start


def _probe(host: str, port: int, seconds: float) -> tuple[int | None, str]:
    try:
        status = Server(host, port, None, seconds).request("GET", "/health").status
    except ServerError as error:
        return None, str(error)
    return status, f"/health: HTTP {status}"


def main() -> int:
    """Read the command line and wait."""
    parser = argparse.ArgumentParser(
        description="Wait until a server answers /health.",
        epilog="Exit codes: 0 ready, 2 usage, 3 not ready in time, 4 the process is gone or the engine is dead.",
    )
    parser.add_argument("service")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="default: as planned")
    parser.add_argument("--pid", type=int, help="fail at once when this process is gone; default: $MAINPID")
    parser.add_argument("--json", action="store_true", help="report to stdout for machines")
    options = parser.parse_args()
    end_well_when_stopped()
    plan = load_plan()
    service = choose_answering(plan, [options.service])[0]
    pid = options.pid if options.pid is not None else _main_pid()
    seconds = service["timeouts"]["ready_seconds"] if options.timeout is None else options.timeout
    host, port, name = probe_host(service), service["port"], service["name"]
    print(f"wait-ready: waiting for {name} on {host}:{port}, at most {seconds:g} s", file=sys.stderr, flush=True)
    process, may_load = Process(pid) if pid is not None else None, engine_of(plan, service)["answers_while_loading"]
    outcome = wait(host, port, process, seconds, may_load=may_load)
    _say(name, outcome, as_json=options.json)
    return outcome.code


def _say(service: str, outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        report = {
            "service": service,
            "ready": outcome.code == 0,
            "exit_code": outcome.code,
            "seconds": round(outcome.seconds, 3),
            "detail": outcome.message,
        }
        print(json.dumps(report, indent=2))
    else:
        print(f"wait-ready: {outcome.message}", file=sys.stderr if outcome.code else sys.stdout)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(text)
    return seconds


def _main_pid() -> int | None:
    text = os.environ.get("MAINPID", "")
    if text and not text.isdigit():
        raise StackError(EXIT_USAGE, f"MAINPID is not a number: {text}")
    return int(text) if text else None
