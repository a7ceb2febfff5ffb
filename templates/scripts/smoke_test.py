#!/usr/bin/env -S python3 -I
"""Ask running servers whether they are what the plan says: reachable, guarded, complete, answering, within the ledger.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes, of the first check that fails: 0 none failed, 1 a check failed, 2 usage, 3 unreachable or not ready in time,
4 no plan, no key file or the process is gone, 5 the key was refused, 6 the model is not served.
A check that is skipped or warns has failed nothing, and counts as no pass either.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))  # with -I, Python does not look beside its program
sys.dont_write_bytecode = True  # this folder must stay as it was committed

import _answers  # noqa: E402
import _load  # noqa: E402
import _media  # noqa: E402
import _pooled  # noqa: E402
import _probes  # noqa: E402
import _through  # noqa: E402
import _usage  # noqa: E402
from _keys import read_api_key, read_client_key  # noqa: E402
from _process import Process  # noqa: E402
from _report import FORMATS, format_report  # noqa: E402
from _server import Server  # noqa: E402
from _stack import (  # noqa: E402
    EXIT_USAGE,
    FAIL,
    SKIP,
    WILDCARD_HOSTS,
    Check,
    JsonObject,
    Result,
    StackError,
    choose_services,
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
    ("revision", _probes.check_revision, 1),
    ("context", _probes.check_context, 1),
    ("kv-cache", _probes.check_kv_cache, 1),
    ("chat", _answers.check_chat, 1),
    ("completion", _answers.check_completion, 1),
    ("stream", _answers.check_stream, 1),
    ("embedding", _answers.check_embedding, 1),
    ("rerank", _pooled.check_rerank, 1),
    ("labels", _pooled.check_labels, 1),
    ("tools", _answers.check_tools, 1),
    ("structured-output", _answers.check_structured_output, 1),
    ("reasoning", _answers.check_reasoning, 1),
    ("overlong", _answers.check_overlong, 1),
    ("remote-media", _media.check_remote_media, 1),
    ("data-media", _media.check_data_media, 1),
    ("metrics", _probes.check_metrics, 1),
)
ENTRANCE = (
    ("client-keys", _through.check_client_keys, 1),
    ("hidden", _through.check_hidden, 1),
    ("unknown-model", _through.check_unknown_model, 1),
)
# Of a stack with monitoring; last, because some metrics begin with the first request.
MONITORED = (("rule-metrics", _probes.check_rule_metrics, 1),)


class Options(NamedTuple):
    """The command line."""

    services: list[str]
    host: str | None
    port: int | None
    served_name: str | None
    pid: int | None
    api_key_file: str | None
    client_keys_file: str | None
    gateway: str
    timeout: float
    request_timeout: float
    requests: int
    ttft_p95: float | None
    tpot_p95: float | None
    tokens_per_second: float | None
    strict: bool
    format: str

    @property
    def elsewhere(self) -> bool:
        """Whether another server is asked than the plan's."""
        return self.host is not None or self.port is not None or self.served_name is not None


def run_all(plan: JsonObject, services: list[JsonObject], options: Options) -> list[Result]:
    """Each server alone, then all at once, then through the gateway."""
    key = servers_key(plan, options)
    targets = [make_target(plan, service, key, options) for service in services]
    if options.gateway == "only":
        return test_gateway(plan, targets, key, options)
    results: list[Result] = []
    for target in targets:
        results += test_service(target, budget_of(plan, options))
    failed = sorted({result.subject for result in results if result.status == FAIL and result.code != 1})
    together: Callable[[], str] = partial(_load.check_together, targets)
    if failed:
        together = partial(_probes.skip, f"{', '.join(failed)} cannot be asked")
    results.append(run_check(Check("stack", "together", together)))
    return results + (test_gateway(plan, targets, key, options) if options.gateway == "too" else [])


def make_target(plan: JsonObject, service: JsonObject, key: str | None, options: Options) -> _probes.Target:
    """A service and where it is asked."""
    server = Server(options.host or probe_host(service), options.port or service["port"], key, options.request_timeout)
    return _probes.Target(
        server=server,
        service=service,
        name=options.served_name or service["served_name"],
        version=plan["engine"]["vllm"],
        has_key=key is not None,
        ready_seconds=options.timeout,
        plan=plan,
        process=Process(options.pid) if options.pid is not None else None,
        is_local=options.host is None,
    )


def budget_of(plan: JsonObject, options: Options) -> _load.Budget:
    """What the caller asks for; the time to the first token otherwise as the spec's monitoring has it."""
    objective = plan["monitoring"]["ttft_p95_seconds"] if plan["monitoring"] else None
    ttft = objective if options.ttft_p95 is None else options.ttft_p95
    return _load.Budget(options.requests, ttft, options.tpot_p95, options.tokens_per_second, options.strict)


def test_service(target: _probes.Target, budget: _load.Budget) -> list[Result]:
    """All checks of one service; those after a fatal failure are skipped."""
    load = ("budget", partial(_load.check_budget, budget=budget), 1)
    # Memory comes last: it is at its highest when the load was there.
    usage = ("memory", _usage.check_memory, 1)
    fatal = {name for name, _, _ in FATAL} - {"version"}
    results: list[Result] = []
    monitored = MONITORED if target.plan["monitoring"] else ()
    for title, probe, code in (*FATAL, *OTHERS, *monitored, load, usage):
        stopped = [result.name for result in results if result.status == FAIL and result.name in fatal]
        run: Callable[[], str] = partial(_probes.skip, f"{stopped[0]} failed") if stopped else partial(probe, target)
        results.append(run_check(Check(target.service["name"], title, run, code)))
    return results


def test_gateway(plan: JsonObject, targets: list[_probes.Target], key: str | None, options: Options) -> list[Result]:
    """All checks of the gateway, by the routes of the chosen services; none where the plan has no gateway."""
    gateway = plan["gateway"]
    if gateway is None:
        return []
    if options.elsewhere:
        return [Result("gateway", "reachable", SKIP, "a server was named that is not the one behind the gateway", 0)]
    host = "127.0.0.1" if gateway["host"] in WILDCARD_HOSTS else gateway["host"]
    client_key = clients_key(plan, options)
    server = Server(host, gateway["port"], client_key, options.request_timeout)
    names = {route["service"]: route["name"] for route in gateway["routes"]}
    routed = tuple(
        target._replace(server=server, name=names[target.service["name"]], is_local=False)
        for target in targets
        if target.service["name"] in names
    )
    if not routed:
        return [Result("gateway", "reachable", SKIP, "none of the chosen services has a route of its own", 0)]
    return _ask_gateway(_through.Entrance(server, gateway, client_key is not None, key, routed, options.timeout))


def _ask_gateway(entrance: _through.Entrance) -> list[Result]:
    first = run_check(Check("gateway", "reachable", partial(_through.check_reachable, entrance), 3))
    checks = [(title, partial(probe, entrance), code) for title, probe, code in ENTRANCE]
    for target in entrance.targets:
        checks.append((f"answer of {target.name}", partial(_through.check_answer, target), 1))
        checks.append((f"stream of {target.name}", partial(_answers.check_stream, target), 1))
    results = [first]
    for title, probe, code in checks:
        stopped = first.status == FAIL and first.code == _probes.EXIT_UNREACHABLE
        run: Callable[[], str] = partial(_probes.skip, "the gateway does not answer") if stopped else probe
        results.append(run_check(Check("gateway", title, run, code)))
    return results


def servers_key(plan: JsonObject, options: Options) -> str | None:
    """The servers' API key, or None where the stack has none."""
    path = Path(options.api_key_file) if options.api_key_file else secret_file(plan, "api_key")
    if path is None or (plan["secrets"]["api_key"] is None and not options.api_key_file):
        return None
    return read_api_key(path)


def clients_key(plan: JsonObject, options: Options) -> str | None:
    """The first key of the clients' file; None where the stack has none."""
    path = Path(options.client_keys_file) if options.client_keys_file else secret_file(plan, "client_keys")
    if path is None or (plan["secrets"]["client_keys"] is None and not options.client_keys_file):
        return None
    return read_client_key(path)


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Ask running servers whether they are what the plan says.",
        epilog="Exit codes, of the first check that fails: 0 none failed, 1 a check failed, 2 usage, 3 unreachable, "
        "4 no plan, no key file or the process is gone, 5 the key was refused, 6 the model is not served.",
    )
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all")
    parser.add_argument("--host", help="default: as planned")
    parser.add_argument("--port", type=int, help="default: as planned; for one service")
    parser.add_argument("--served-name", help="default: as planned; for one service")
    parser.add_argument("--pid", type=int, help="fail at once when this process is gone; for one service")
    parser.add_argument("--api-key-file", help="default: as planned")
    parser.add_argument("--client-keys-file", help="default: as planned")
    parser.add_argument("--timeout", type=_seconds, default=30.0, help="seconds to wait for each server (30)")
    parser.add_argument("--request-timeout", type=_seconds, default=120.0, help="seconds for one request (120)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--no-gateway", dest="gateway", action="store_const", const="no", help="ask the servers only")
    which.add_argument("--gateway-only", dest="gateway", action="store_const", const="only", help="ask nothing else")
    _add_budget(parser)
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="as --format json")
    parser.set_defaults(gateway="too")
    return Options(**vars(parser.parse_args()))


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=_count, default=8, help="to measure the speed with (8); 0 leaves it out")
    parser.add_argument("--ttft-p95", type=_seconds, metavar="SECONDS", help="to the first token; default: as planned")
    parser.add_argument("--tpot-p95", type=_seconds, metavar="SECONDS", help="for each further token")
    parser.add_argument("--tokens-per-second", type=_seconds, metavar="N", help="of all requests, at least")
    parser.add_argument("--strict", action="store_true", help="too slow is a failure, not a warning")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(text)
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= 10_000:
        raise ValueError(text)
    return count


def main() -> int:
    """Test and report."""
    options = parse_options()
    plan = load_plan()
    services = choose_services(plan, options.services)
    named = (options.port, options.served_name, options.pid)
    if len(services) != 1 and any(value is not None for value in named):
        raise StackError(EXIT_USAGE, "--port, --served-name and --pid are for exactly one service")
    results = run_all(plan, services, options)
    code = next((result.code for result in results if result.status == FAIL), 0)
    print(format_report(options.format, plan, results, code))
    return code


if __name__ == "__main__":
    run_program(main)
