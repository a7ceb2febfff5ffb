"""Measure running servers with `vllm bench serve`, and compare with what they measured before.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

The first run of a revision writes its baseline. A later one is compared with it, and with the newest baseline of
another revision of the service. Two figures are compared only if load, hardware and route are the same. A figure
regresses when it is worse by more than --tolerance and by more than three times the spread of the runs
(their median absolute deviation, of which half of the figure counts at most).

A candidate is compared with the service that it would replace: with its figures of the same run if both are named,
`bench general general-candidate`, else with its newest baseline.

vLLM's own client makes the load, so where vLLM is only in containers this must run inside of one, and servers of other
engines are left out: it needs a tokenizer beside the model. The other services of the GPU should do what they usually
do: they count as part of the hardware.

Exit codes: 0 no regression, 1 a request or a run failed, 2 usage, 3 unreachable, 4 no plan, no vLLM, no key file or a
damaged baseline, 5 the key was refused, 6 the model is not served, 15 the model's folder is not here, 24 regression.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from stack import (
    EXIT_ENVIRONMENT,
    EXIT_USAGE,
    JsonObject,
    StackError,
    choose_answering,
    first_replicas,
    load_plan,
    positive_count,
    positive_number,
    report_form,
    service_of,
)
from stack.ask.server import DIRECT, GATEWAY, check_ready, find_endpoint, find_vllm, running_version, use_state
from stack.judge.baseline import Baseline, Change, Store, Summary, compare, new_baseline
from stack.judge.measure import Load, Metric, measure, metrics_of, plan_load

EXIT_REGRESSION = 24
MEASURED = "vllm"
RUNS, TOLERANCE, RUN_SECONDS, REQUEST_SECONDS = 3, 10.0, 1800.0, 30.0


class Options(NamedTuple):
    """The command line. `tolerance` is in percent."""

    services: list[str]
    requests: int | None
    concurrency: int | None
    input_tokens: int | None
    output_tokens: int | None
    runs: int
    tolerance: float
    through_gateway: bool
    api_key_file: str | None
    baselines: str | None
    compare: str | None
    update_baseline: bool
    list: bool
    run_timeout: float
    format: str

    def load(self) -> dict[str, int | None]:
        """What the caller sets of the load."""
        return {name: getattr(self, name) for name in Load._fields}


class Comparison(NamedTuple):
    """A measurement beside another one. `title` says which."""

    title: str
    changes: list[Change]


class Report(NamedTuple):
    """What came of one service. `path` is its baseline's, `is_new` whether this run wrote it."""

    service: JsonObject
    now: Baseline
    path: Path
    is_new: bool
    comparisons: list[Comparison]

    @property
    def regressions(self) -> list[tuple[str, Change]]:
        """What got worse, and against what."""
        return [
            (comparison.title, change)
            for comparison in self.comparisons
            for change in comparison.changes
            if change.is_regression
        ]


def measure_service(plan: JsonObject, service: JsonObject, options: Options) -> Baseline:
    """Run the load as often as asked."""
    endpoint = find_endpoint(
        plan,
        service,
        through_gateway=options.through_gateway,
        key_file=options.api_key_file,
        seconds=REQUEST_SECONDS,
    )
    check_ready(endpoint)
    version = running_version(plan, service)
    compared = _compared(plan, service)
    load = plan_load(_behind_gateway(plan, compared) if options.through_gateway else compared, options.load())
    vllm = find_vllm(plan)
    runs = []
    for number in range(options.runs):
        print(f"{service['name']}: run {number + 1} of {options.runs}: {load}", file=sys.stderr, flush=True)
        runs.append(measure(vllm, endpoint, load, options.run_timeout))
    route = GATEWAY if options.through_gateway else DIRECT
    return new_baseline(plan, service, load=load, route=route, version=version, runs=runs)


def _compared(plan: JsonObject, service: JsonObject) -> list[JsonObject]:
    """The service, and its candidate or the service whose candidate it is: they get the same load."""
    stable = stable_of(service)
    return [each for each in plan["services"] if stable_of(each) == stable]


def _behind_gateway(plan: JsonObject, services: list[JsonObject]) -> list[JsonObject]:
    """Services as the gateway serves them: with as many requests at once as all their replicas here take together."""
    promised = Counter[str]()
    for each in plan["services"]:
        promised[service_of(each)] += each["concurrency"]
    return [{**each, "concurrency": promised[service_of(each)]} for each in services]


def stable_of(service: JsonObject) -> str:
    """The service itself, or the one whose candidate it is."""
    return str(service.get("candidate_of") or service["name"])


def measurable(services: list[JsonObject], options: Options) -> list[JsonObject]:
    """Those of vLLM; a word on the others, and no more than that unless they were asked for."""
    others = ", ".join(each["name"] for each in services if each["engine"] != MEASURED)
    if others and options.services:
        raise StackError(EXIT_USAGE, f"{others}: vLLM's client measures vLLM's servers alone")
    if others:
        print(f"bench: {others} left out: vLLM's client measures vLLM's servers alone", file=sys.stderr, flush=True)
    return [each for each in services if each["engine"] == MEASURED]


def report_on(service: JsonObject, measured: dict[str, Baseline], store: Store, options: Options) -> Report:
    """Compare one measurement, and keep it if it is the first of its revision."""
    now = measured[service["name"]]
    own = store.own(now) if not options.update_baseline else None
    found: list[tuple[str, Baseline]] = [(f"its baseline of {own.recorded}", own)] if own else []
    found += others(service, measured, store, options)
    comparisons = [Comparison(title, changes(service, each, now, options)) for title, each in found]
    path = store.path(now) if own else store.save(now)
    return Report(service, now, path, own is None, comparisons)


def others(
    service: JsonObject, measured: dict[str, Baseline], store: Store, options: Options
) -> list[tuple[str, Baseline]]:
    """What else to compare with: the revision asked for; for a candidate its stable service; else the newest other."""
    now, stable = measured[service["name"]], stable_of(service)
    if options.compare:
        asked = store.find(stable, options.compare)
        if asked.conditions != now.conditions:
            raise StackError(EXIT_USAGE, f"{asked.revision} was measured with another load, route or hardware")
        return [(asked.revision, asked)]
    if stable != now.service and stable in measured:
        return [(f"{stable}, measured now", measured[stable])]
    before = store.latest_other(stable, now)
    return [(before.revision, before)] if before else []


def changes(service: JsonObject, before: Baseline, now: Baseline, options: Options) -> list[Change]:
    """Every figure beside its older one."""
    return compare(metrics_of(service), before, now, options.tolerance / 100)


def format_report(report: Report) -> str:
    """For people."""
    now = report.now
    load = Load(**now.conditions["load"])
    lines = [f"{now.service}: {now.revision}", f"  {load}; median of {len(next(iter(now.metrics.values())).values)}"]
    lines += [format_figure(metric, now.metrics[metric.key]) for metric in metrics_of(report.service)]
    for comparison in report.comparisons:
        lines.append(f"  against {comparison.title}:")
        lines += [f"    {format_change(change)}" for change in comparison.changes]
    if not report.comparisons:
        lines.append("  nothing to compare with yet")
    lines.append(f"  baseline {'written to' if report.is_new else 'kept in'} {report.path}")
    return "\n".join(lines)


def format_figure(metric: Metric, summary: Summary) -> str:
    """One figure with the spread of the runs."""
    figure = f"  {metric.title:<18} {summary.median:>10.2f}"
    return f"{figure}  ± {summary.spread:.1%}" if len(summary.values) > 1 else figure


def format_change(change: Change) -> str:
    """One figure beside its older one."""
    growth = change.now / change.before - 1
    text = f"{change.metric.title:<18} {change.before:>10.2f} → {change.now:<10.2f} {growth:+7.1%}"
    return f"{text}  REGRESSION, {change.allowed:.0%} allowed" if change.is_regression else text


def format_json(plan: JsonObject, reports: list[Report], code: int) -> str:
    """For machines."""
    services = [
        {
            **report.now._asdict(),
            "metrics": {key: summary._asdict() for key, summary in report.now.metrics.items()},
            "baseline": {"path": str(report.path), "written": report.is_new},
            "comparisons": [
                {"against": each.title, "changes": [_change(change) for change in each.changes]}
                for each in report.comparisons
            ],
            "regressions": len(report.regressions),
        }
        for report in reports
    ]
    return json.dumps({"stack": plan["stack"], "exit_code": code, "services": services}, indent=2)


def _change(change: Change) -> JsonObject:
    return {
        "metric": change.metric.key,
        "before": change.before,
        "now": change.now,
        "worse_percent": round(change.worse * 100, 2),
        "allowed_percent": round(change.allowed * 100, 2),
        "regression": change.is_regression,
    }


def list_baselines(services: list[JsonObject], store: Store, form: str) -> str:
    """What was measured before."""
    found = [baseline for service in services for baseline in store.all(service["name"])]
    if form == "json":
        rows = [{"service": each.service, "revision": each.revision, "recorded": each.recorded} for each in found]
        return json.dumps(rows, indent=2)
    lines = [
        f"{each.service}  {each.revision}  {each.recorded}  {Load(**each.conditions['load'])}, "
        f"by the {each.conditions['route']}"
        for each in found
    ]
    return "\n".join(lines) or f"no baselines in {store.folder}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two measurements at once would measure each other."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The folder may be another user's: what has the name of the lock is neither followed nor emptied.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(folder / ".lock", flags, 0o666), "rb")
    except OSError as error:
        raise StackError(EXIT_ENVIRONMENT, f"cannot write {folder}: {error.strerror}: set --baselines") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StackError(EXIT_ENVIRONMENT, f"another measurement is running ({folder}/.lock)") from None
        yield


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure running servers and compare with their baselines.",
        epilog=str(__doc__).partition("again.\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all, one after another")
    load = parser.add_argument_group("load (default: what the plan says)")
    load.add_argument("--requests", type=positive_count, metavar="N", help="at least 50, and 10 for each at once")
    load.add_argument(
        "--concurrency", type=positive_count, metavar="N", help="requests at once; the service's concurrency"
    )
    load.add_argument(
        "--input-len", dest="input_tokens", type=positive_count, metavar="N", help="1024, or half the context"
    )
    load.add_argument(
        "--output-len", dest="output_tokens", type=positive_count, metavar="N", help="128, or a quarter of it"
    )
    load.add_argument("--runs", type=positive_count, default=RUNS, metavar="N", help=f"the median counts ({RUNS})")
    load.add_argument("--through-gateway", action="store_true", help="ask the gateway instead of the server")
    load.add_argument("--api-key-file", metavar="FILE", help="default: as planned")
    load.add_argument(
        "--run-timeout", type=positive_number, default=RUN_SECONDS, metavar="SECONDS", help="of one run (1800)"
    )
    judge = parser.add_argument_group("comparison")
    judge.add_argument(
        "--tolerance", type=positive_number, default=TOLERANCE, metavar="PERCENT", help="allowed loss (10)"
    )
    judge.add_argument("--baselines", metavar="DIR", help="default: baselines/ in the stack's state folder")
    judge.add_argument("--compare", metavar="REVISION", help="with this one instead of the newest other")
    judge.add_argument("--update-baseline", action="store_true", help="this run becomes the revision's baseline")
    judge.add_argument("--list", action="store_true", help="list the baselines and measure nothing")
    parser.add_argument("--format", type=report_form, choices=("text", "json"), default="text")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="as --format json")
    return Options(**vars(parser.parse_args()))


def main() -> int:
    """Measure, compare, report."""
    options = parse_options()
    plan = load_plan()
    services = choose_answering(plan, options.services)
    if options.through_gateway and not options.services:
        services = first_replicas([each for each in services if not each.get("candidate_of")])
    services = measurable(services, options)
    store = Store(Path(options.baselines or Path(plan["paths"]["state"]) / "baselines"))
    if options.list:
        print(list_baselines(services, store, options.format))
        return 0
    use_state(plan)
    with alone(store.folder):
        # A damaged baseline is better known before the load than after it.
        for service in services:
            store.all(service["name"])
        measured = {service["name"]: measure_service(plan, service, options) for service in services}
        reports = [report_on(service, measured, store, options) for service in services]
    code = EXIT_REGRESSION if any(report.regressions for report in reports) else 0
    if options.format == "json":
        print(format_json(plan, reports, code))
    else:
        print(*map(format_report, reports), sep="\n\n")
    return code
