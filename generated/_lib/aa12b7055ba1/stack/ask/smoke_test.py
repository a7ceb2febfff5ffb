"""Ask running servers whether they are what the plan says: reachable, guarded, complete, answering, within the ledger.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes, of the first check that fails: 0 none failed, 1 a check failed, 2 usage, 3 unreachable or not ready in time,
4 no plan, no key file or the process is gone, 5 the key was refused, 6 the model is not served.
A check that is skipped or warns has failed nothing, and counts as no pass either. Of a server that is not there, that
is all that is said: nothing else of it is asked.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from stack import (
    EXIT_USAGE,
    FAIL,
    SKIP,
    Check,
    JsonObject,
    Result,
    StackError,
    choose_answering,
    engine_of,
    format_result,
    format_summary,
    load_plan,
    probe_host,
    run_check,
    secret_file,
    service_of,
)
from stack.ask import adapters, answers, budget, further, llama_cpp, probes, vllm
from stack.ask.server import Process, Server, gateway_server, limited_teams
from stack.keys import read_api_key, read_client
from stack.report import FORMATS, format_report

# Once a server is there: in this order; after a failed one of the first kind, nothing further can be learnt.
FATAL = (
    ("key", probes.check_key, 5),
    ("model", probes.check_model, 6),
)
GUARD = ("guard", probes.check_guard, 1)
OF_ENGINE = {"vllm": vllm, "llama.cpp": llama_cpp}
OTHERS = (
    ("chat", answers.check_chat, 1),
    ("completion", answers.check_completion, 1),
    ("stream", answers.check_stream, 1),
    ("embedding", answers.check_embedding, 1),
    ("rerank", answers.check_rerank, 1),
    ("labels", answers.check_labels, 1),
    ("tools", answers.check_tools, 1),
    ("structured-output", answers.check_structured_output, 1),
    ("reasoning", answers.check_reasoning, 1),
    ("overlong", answers.check_overlong, 1),
    ("remote-media", further.check_remote_media, 1),
    ("data-media", further.check_data_media, 1),
    ("metrics", probes.check_metrics, 1),
)
ENTRANCE = (
    ("client-keys", further.check_client_keys, 1),
    ("hidden", further.check_hidden, 1),
    ("unknown-model", further.check_unknown_model, 1),
)
# Of a stack with monitoring; last, because some metrics begin with the first request.
MONITORED = (("rule-metrics", probes.check_rule_metrics, 1),)


class Options(NamedTuple):
    """The command line."""

    services: list[str]
    host: str | None
    port: int | None
    served_name: str | None
    pid: int | None
    server_log: str | None
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


def run_all(plan: JsonObject, services: list[JsonObject], options: Options) -> Iterator[Result]:
    """Whoever is there, each server alone, then all at once, then through the gateway; each result as it is known."""
    key = servers_key(plan, options)
    targets = [make_target(plan, service, key, options) for service in services]
    asked = [] if options.gateway == "only" else targets
    is_known = not options.elsewhere or options.gateway == "only"
    entrance = make_entrance(plan, targets, key, options) if options.gateway != "no" and is_known else None
    first = [Check(target.service["name"], "health", partial(probes.check_health, target), 3) for target in asked]
    if entrance is not None:
        first.append(Check("gateway", "reachable", partial(further.check_reachable, entrance), 3))
    say_waiting([*asked, *([] if entrance is None else [entrance])], options.timeout)
    there = ask_at_once(first)
    dead, failed = set(), set()
    for index, target in enumerate(asked):
        health = there[index]
        yield health
        name = target.service["name"]
        if health.status == FAIL:
            dead.add(name)
            continue
        for result in test_service(target, budget_of(plan, target.service, options)):
            yield result
            if result.status == FAIL and result.code != 1:
                failed.add(name)
    # Where no server is there, their own lines have said so.
    if len(dead) < len(asked):
        yield _together(asked, sorted(dead | failed))
    if options.gateway != "no":
        yield from test_gateway(plan, entrance, there[-1] if entrance is not None else None, dead, options)


def _together(targets: list[probes.Target], failed: list[str]) -> Result:
    together: Callable[[], str] = partial(further.check_together, targets)
    if failed:
        together = partial(probes.skip, f"{', '.join(failed)} cannot be asked")
    return run_check(Check("stack", "together", together))


def say_waiting(asked: Sequence[probes.Target | further.Entrance], seconds: float) -> None:
    """Before anything is waited for: whoever looks at a still terminal knows why."""
    places = ", ".join(f"{each.server.host}:{each.server.port}" for each in asked)
    if asked:
        print(f"smoke-test: asking {places}, at most {seconds:g} s for all", file=sys.stderr, flush=True)


def ask_at_once(checks: Sequence[Check]) -> list[Result]:
    """All at the same time, so that a stack of dead servers takes one wait."""
    begun = list(map(_begun, checks))
    return [answer.result() for answer in begun]


def _begun(check: Check) -> Future[Result]:
    answer: Future[Result] = Future()
    # A daemon ends with the program: nobody waits for a wait that was interrupted.
    Thread(target=_answer, args=(check, answer), daemon=True).start()
    return answer


def _answer(check: Check, answer: Future[Result]) -> None:
    try:
        answer.set_result(run_check(check))
    except BaseException as error:
        answer.set_exception(error)


def make_target(plan: JsonObject, service: JsonObject, key: str | None, options: Options) -> probes.Target:
    """A service and where it is asked."""
    server = Server(options.host or probe_host(service), options.port or service["port"], key, options.request_timeout)
    return probes.Target(
        server=server,
        service=service,
        name=options.served_name or service["served_name"],
        version=engine_of(plan, service)["version"],
        has_key=key is not None,
        ready_seconds=options.timeout,
        plan=plan,
        process=Process(options.pid) if options.pid is not None else None,
        is_local=options.host is None,
        log=None if options.server_log is None else Path(options.server_log),
    )


def budget_of(plan: JsonObject, service: JsonObject, options: Options) -> budget.Budget:
    """What the caller asks for; otherwise the objectives of the service, then the time that monitoring has."""
    asked = service["objectives"] or {}
    monitored = plan["monitoring"]["ttft_p95_seconds"] if plan["monitoring"] else None
    rate = asked.get("tokens_per_second")
    return budget.Budget(
        requests=options.requests,
        ttft_p95=options.ttft_p95 or asked.get("ttft_p95_seconds") or monitored,
        tpot_p95=options.tpot_p95 or (1 / rate if rate else None),
        tokens_per_second=options.tokens_per_second,
        is_strict=options.strict,
        estimate=estimate_of(plan, service),
    )


def estimate_of(plan: JsonObject, service: JsonObject) -> tuple[float, float] | None:
    """Of tokens a second that each request gets under the planned load, the least and the most."""
    for speed in plan["speed"]:
        if speed["service"] == service["name"]:
            rate = (speed["promised"] or speed["alone"])["request_tokens_per_second"]
            return rate["low"], rate["high"]
    return None


def test_service(target: probes.Target, limits: budget.Budget) -> Iterator[Result]:
    """All further checks of a server that is there; those after a fatal failure are skipped."""
    load = ("budget", partial(budget.check_budget, budget=limits), 1)
    # Memory comes last: it is at its highest when the load was there.
    usage = ("memory", further.check_memory, 1)
    fatal = {name for name, _, _ in FATAL}
    stopped: list[str] = []
    monitored = MONITORED if target.plan["monitoring"] else ()
    engine = OF_ENGINE[target.service["engine"]]
    drafts = engine.DRAFTS if target.service.get("draft") else ()
    own = [(title, probe, 1) for title, probe in (*engine.CHECKS, *drafts)]
    own += [("adapters", adapters.check_adapters, 1)] if target.service.get("adapters") else []
    version = ("version", engine.check_version, 1)
    for title, probe, code in (version, *FATAL, GUARD, *own, *OTHERS, *monitored, load, usage):
        run: Callable[[], str] = partial(probes.skip, f"{stopped[0]} failed") if stopped else partial(probe, target)
        result = run_check(Check(target.service["name"], title, run, code))
        yield result
        if result.status == FAIL and title in fatal:
            stopped.append(title)


def make_entrance(
    plan: JsonObject, targets: list[probes.Target], key: str | None, options: Options
) -> further.Entrance | None:
    """The gateway, with the routes of the chosen services; None where there is nothing to ask."""
    gateway = plan["gateway"]
    if gateway is None:
        return None
    client, client_key = client_of(plan, options) or ("", None)
    server = gateway_server(gateway, client_key, options.request_timeout, options.host)
    allowed = limited_teams(plan).get(client)
    everywhere = [*targets, *([] if options.services else elsewhere(plan, server, options))]
    # A server's adapters have routes of their own beside its model's.
    routed = tuple(
        target._replace(server=server, name=route["name"], is_local=False)
        for target in everywhere
        for route in gateway["routes"]
        if route["service"] == service_of(target.service) and (not allowed or route["name"] in allowed)
    )
    return further.Entrance(server, gateway, client_key is not None, key, routed, options.timeout) if routed else None


def elsewhere(plan: JsonObject, server: Server, options: Options) -> Iterator[probes.Target]:
    """Servers of other nodes, as far as the gateway here answers for them."""
    for node in plan.get("neighbours", []):
        for service in node["services"]:
            yield probes.Target(
                server=server, service=service, name=service["served_name"], version="", has_key=False,
                ready_seconds=options.timeout, plan=plan,
            )  # fmt: skip


def test_gateway(
    plan: JsonObject, entrance: further.Entrance | None, first: Result | None, dead: set[str], options: Options
) -> Iterator[Result]:
    """All checks of the gateway, by the routes of services that are there; none where the plan has no gateway."""
    if plan["gateway"] is None:
        return
    if entrance is None or first is None:
        why = "a server was named that is not the one behind the gateway"
        why = why if options.elsewhere else "none of the chosen services has a route of its own"
        yield Result("gateway", "reachable", SKIP, why, 0)
        return
    yield first
    # A route is asked once, as long as any of its replicas is there.
    alive = tuple({each.name: each for each in entrance.targets if each.service["name"] not in dead}.values())
    if alive and not (first.status == FAIL and first.code == probes.EXIT_UNREACHABLE):
        yield from _ask_gateway(entrance._replace(targets=alive))


def _ask_gateway(entrance: further.Entrance) -> Iterator[Result]:
    checks = [(title, partial(probe, entrance), code) for title, probe, code in ENTRANCE]
    if entrance.server.encryption is not None:
        checks.insert(0, ("certificate", partial(further.check_certificate, entrance), 1))
    for target in entrance.targets:
        checks.append((f"answer of {target.name}", partial(further.check_answer, target), 1))
        checks.append((f"stream of {target.name}", partial(answers.check_stream, target), 1))
    for title, probe, code in checks:
        yield run_check(Check("gateway", title, probe, code))


def servers_key(plan: JsonObject, options: Options) -> str | None:
    """The servers' API key, or None where the stack has none."""
    path = Path(options.api_key_file) if options.api_key_file else secret_file(plan, "api_key")
    if path is None or (plan["secrets"]["api_key"] is None and not options.api_key_file):
        return None
    return read_api_key(path)


def client_of(plan: JsonObject, options: Options) -> tuple[str, str] | None:
    """Name and key of a client, without limits where there is one; None where the stack has no keys."""
    path = Path(options.client_keys_file) if options.client_keys_file else secret_file(plan, "client_keys")
    if path is None or (plan["secrets"]["client_keys"] is None and not options.client_keys_file):
        return None
    return read_client(path, limited_teams(plan))


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Ask running servers whether they are what the plan says.",
        epilog="Exit codes, of the first check that fails: 0 none failed, 1 a check failed, 2 usage, 3 unreachable, "
        "4 no plan, no key file or the process is gone, 5 the key was refused, 6 the model is not served.",
    )
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all")
    parser.add_argument("--host", help="default: as planned; with --gateway-only that of the gateway")
    parser.add_argument("--port", type=int, help="default: as planned; for one service")
    parser.add_argument("--served-name", help="default: as planned; for one service")
    parser.add_argument("--pid", type=int, help="fail at once when this process is gone; for one service")
    parser.add_argument(
        "--server-log", metavar="FILE", help="what it printed; default: its unit's journal; for one service"
    )
    parser.add_argument("--api-key-file", help="default: as planned")
    parser.add_argument("--client-keys-file", help="default: as planned")
    parser.add_argument("--timeout", type=_seconds, default=30.0, help="seconds to wait for servers, all at once (30)")
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
    services = choose_answering(plan, options.services)
    named = (options.port, options.served_name, options.pid, options.server_log)
    if len(services) != 1 and any(value is not None for value in named):
        raise StackError(EXIT_USAGE, "--port, --served-name, --pid and --server-log are for exactly one service")
    results: list[Result] = []
    for result in run_all(plan, services, options):
        results.append(result)
        if options.format == "text":
            print(format_result(result), flush=True)
    code = next((result.code for result in results if result.status == FAIL), 0)
    print(format_summary(results) if options.format == "text" else format_report(options.format, plan, results, code))
    return code
