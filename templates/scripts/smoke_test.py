#!/usr/bin/env python3
"""Ask running servers whether they are what the plan says: reachable, guarded, complete, answering.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes, of the first service that fails: 0 all fine, 1 a check failed, 2 usage, 3 unreachable or not ready in time,
4 no plan or no API key file, 5 the key was refused, 6 the model is not served.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.dont_write_bytecode = True  # this folder must stay as it was committed

import _probes  # noqa: E402
from _server import Server  # noqa: E402
from _stack import (  # noqa: E402
    EXIT_ENVIRONMENT,
    EXIT_USAGE,
    FAIL,
    SKIP,
    Check,
    JsonObject,
    Result,
    StackError,
    choose_services,
    format_json,
    format_result,
    format_summary,
    load_plan,
    probe_host,
    run_check,
    run_program,
    secret_file,
)

# In this order; after a failed one of the first kind, nothing further can be learnt.
FATAL = (
    ("health", _probes.check_health, 3),
    ("version", _probes.check_version, 1),
    ("key", _probes.check_key, 5),
    ("model", _probes.check_model, 6),
)
OTHERS = (
    ("guard", _probes.check_guard, 1),
    ("context", _probes.check_context, 1),
    ("chat", _probes.check_chat, 1),
    ("completion", _probes.check_completion, 1),
    ("stream", _probes.check_stream, 1),
    ("overlong", _probes.check_overlong, 1),
    ("metrics", _probes.check_metrics, 1),
    ("kv-cache", _probes.check_kv_cache, 1),
)
# Of a stack with monitoring; last, because some metrics begin with the first request.
MONITORED = (("rule-metrics", _probes.check_rule_metrics, 1),)


class Options(NamedTuple):
    """The command line."""

    services: list[str]
    host: str | None
    port: int | None
    served_name: str | None
    api_key_file: str | None
    timeout: float
    request_timeout: float
    format: str


def test_service(plan: JsonObject, service: JsonObject, options: Options) -> list[Result]:
    """All checks of one service; those after a fatal failure are skipped."""
    key = read_key(plan, options)
    host = options.host or probe_host(service)
    server = Server(host, options.port or service["port"], key, options.request_timeout)
    name = options.served_name or service["served_name"]
    target = _probes.Target(server, service, name, plan["engine"]["vllm"], key is not None, options.timeout)
    target = target._replace(rule_metrics=tuple((plan["monitoring"] or {}).get("metrics", ())))
    results: list[Result] = []
    fatal = {name for name, _, _ in FATAL} - {"version"}
    for title, probe, code in FATAL + OTHERS + (MONITORED if target.rule_metrics else ()):
        stopped = [result.name for result in results if result.status == FAIL and result.name in fatal]
        run: Callable[[], str] = partial(_probes.skip, f"{stopped[0]} failed") if stopped else partial(probe, target)
        results.append(run_check(Check(service["name"], title, run, code)))
    return results


def read_key(plan: JsonObject, options: Options) -> str | None:
    """The API key, or None where the stack has none. It is never printed."""
    path = Path(options.api_key_file) if options.api_key_file else secret_file(plan, "api_key")
    if path is None or (plan["secrets"]["api_key"] is None and not options.api_key_file):
        return None
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
        raise StackError(EXIT_ENVIRONMENT, f"cannot read the API key file {path}: {reason}") from None
    if not key.isprintable() or not key or " " in key:
        raise StackError(EXIT_ENVIRONMENT, f"{path} does not hold one key on one line")
    return key


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Ask running servers whether they are what the plan says.")
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all")
    parser.add_argument("--host", help="default: as planned")
    parser.add_argument("--port", type=int, help="default: as planned; for one service")
    parser.add_argument("--served-name", help="default: as planned; for one service")
    parser.add_argument("--api-key-file", help="default: as planned")
    parser.add_argument("--timeout", type=_seconds, default=30.0, help="seconds to wait for the server (30)")
    parser.add_argument("--request-timeout", type=_seconds, default=120.0, help="seconds for one request (120)")
    parser.add_argument("--format", choices=("text", "json", "tap"), default="text")
    return Options(**vars(parser.parse_args()))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(text)
    return seconds


def format_tap(results: list[Result]) -> str:
    """Test Anything Protocol."""
    lines = [f"1..{len(results)}"]
    for number, result in enumerate(results, 1):
        title = f"{number} - {result.subject}: {result.name}"
        if result.status == SKIP:
            lines.append(f"ok {title} # SKIP {result.detail}")
        else:
            lines.append(f"{'not ok' if result.status == FAIL else 'ok'} {title}")
            lines.append(f"  # {result.detail}")
    return "\n".join(lines)


def format_text(results: list[Result]) -> str:
    """For people."""
    return "\n".join([*map(format_result, results), format_summary(results)])


def main() -> int:
    """Test and report."""
    options = parse_options()
    plan = load_plan()
    services = choose_services(plan, options.services)
    if len(services) != 1 and (options.port is not None or options.served_name is not None):
        raise StackError(EXIT_USAGE, "--port and --served-name are for exactly one service")
    results = [result for service in services for result in test_service(plan, service, options)]
    code = next((result.code for result in results if result.status == FAIL), 0)
    if options.format == "json":
        print(format_json(plan["stack"], results, code))
    else:
        print(format_tap(results) if options.format == "tap" else format_text(results))
    return code


if __name__ == "__main__":
    run_program(main)
