"""`monitoring/grafana/dashboards/STACK.json`: what the stack does, with the plan's limits drawn in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compiler.engines.interface.host import Signal
from compiler.plan.ir import Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.monitoring.panels import WINDOW, Dashboard, Panel, Query, Row, Shape, Unit
from compiler.targets.monitoring.promql import Metrics, metrics_of, quantile, rate, summed
from compiler.targets.monitoring.server_alerts import error_share
from compiler.targets.monitoring.shared_alerts import (
    device_matcher,
    is_sliced,
    revisions,
    series_of,
    served_by,
    server_job,
    used_devices,
)
from compiler.targets.monitoring.thresholds import GENERATING, KV_CACHE_FULL, memory_limit_mib, server_labels

_SHARES = (0.5, 0.95, 0.99)
_REFRESH_SECONDS = 30


def dashboard(plan: Plan, monitoring: Monitoring) -> Dashboard:
    """The dashboard of one node's stack."""
    metrics = metrics_of(plan, monitoring)
    title = f"{plan.stack} on {plan.node.name}" if plan.folder else plan.stack
    return Dashboard(
        name=plan.tree,
        title=f"{' and '.join(plan.titles)}: {title}",
        tags=("stackc", *plan.engines),
        rows=tuple(_rows(_Board(plan, monitoring, metrics))),
        refresh_seconds=max(_REFRESH_SECONDS, monitoring.scrape_seconds),
        metrics=metrics,
    )


@dataclass(frozen=True, slots=True)
class _Board:
    """What all rows are made from."""

    plan: Plan
    monitoring: Monitoring
    metrics: Metrics

    def select(self, series: str, **equal: str) -> str:
        return self.metrics.select(series, {"stack": self.plan.stack, "node": self.plan.node.name, **equal})

    def of_each(self, signal: Signal) -> tuple[str, ...]:
        """Selectors of a signal of all servers: one for each engine that has it."""
        hosts = (engine.host for engine in self.plan.engines.values())
        return tuple(self.select(host.signals[signal]) for host in hosts if signal in host.signals)

    def by_service(self, signal: Signal) -> tuple[Query, ...]:
        return tuple(Query(summed(each, "service"), "{{service}}") for each in self.of_each(signal))

    def rate_by_service(self, signal: Signal) -> tuple[Query, ...]:
        return tuple(Query(summed(rate(each, WINDOW), "service"), "{{service}}") for each in self.of_each(signal))

    def slowest_by_service(self, signal: Signal) -> tuple[Query, ...]:
        """What 5 of 100 exceed."""
        return tuple(Query(quantile(0.95, each, WINDOW, "service"), "{{service}}") for each in self.of_each(signal))


def _rows(board: _Board) -> Iterator[Row]:
    yield _overview(board)
    for stable, candidate in revisions(board.plan):
        yield _rollout(board, stable, candidate)
    for service in board.plan.services:
        yield _service(board, service)
    if board.monitoring.has_dcgm:
        yield _gpus(board)


def _overview(board: _Board) -> Row:
    first, between = board.monitoring.ttft_p95_seconds, board.monitoring.inter_token_p95_seconds
    answering = _answering(board)
    up = Query(summed(answering, "service"), "{{service}}")
    running, waiting = board.by_service(Signal.RUNNING), board.by_service(Signal.WAITING)
    used = tuple(Query(f"max by (service) ({each})", "{{service}}") for each in board.of_each(Signal.CACHE_USED))
    first_token, next_token = (board.slowest_by_service(each) for each in (Signal.FIRST_TOKEN, Signal.NEXT_TOKEN))
    panels = (
        Panel("Servers that answer", Unit.COUNT, (up,), Shape.VALUE, limit=1, bad_below=True, width=12),
        Panel("Requests that run", Unit.COUNT, running, Shape.VALUE, width=12),
        Panel("Requests that wait", Unit.COUNT, waiting),
        Panel("First token, 95 of 100 requests", Unit.SECONDS, first_token, limit=first),
        Panel("Between tokens, 95 of 100", Unit.SECONDS, next_token, limit=between),
        Panel("KV cache in use", Unit.SHARE, used, limit=KV_CACHE_FULL),
        Panel("Tokens generated a second", Unit.COUNT, board.rate_by_service(Signal.GENERATED)),
        Panel("Prompt tokens a second", Unit.COUNT, board.rate_by_service(Signal.PROMPTED)),
    )
    return Row("Overview", _with_queries(panels))


def _answering(board: _Board) -> str:
    jobs = [server_job(board.plan, engine) for engine in served_by(board.plan)]
    if len(jobs) == 1:
        return board.select("up", job=jobs[0])
    place = {"stack": board.plan.stack, "node": board.plan.node.name}
    return board.metrics.select("up", place, among={"job": jobs})


def _with_queries(panels: Iterable[Panel]) -> tuple[Panel, ...]:
    """Those of which an engine has the metrics."""
    return tuple(panel for panel in panels if panel.queries)


def _service(board: _Board, service: Service) -> Row:
    panels = _with_queries((*_latencies(board, service), *_traffic(board, service)))
    return Row(f"{service.name}: {service.served_name}", panels)


def _of_service(board: _Board, service: Service, signal: Signal) -> str | None:
    """A signal's selector; None where the service's engine has none."""
    series = series_of(board.plan, service.name, signal)
    return None if series is None else board.select(series, **dict(server_labels(service)))


def _latencies(board: _Board, service: Service) -> Iterator[Panel]:
    def quantiles(signal: Signal) -> tuple[Query, ...]:
        buckets = _of_service(board, service, signal)
        if buckets is None:
            return ()
        return tuple(Query(quantile(share, buckets, WINDOW), f"p{share * 100:.0f}") for share in _SHARES)

    if service.task in GENERATING:
        first, between = board.monitoring.ttft_p95_seconds, board.monitoring.inter_token_p95_seconds
        yield Panel("First token", Unit.SECONDS, quantiles(Signal.FIRST_TOKEN), limit=first)
        yield Panel("Between tokens", Unit.SECONDS, quantiles(Signal.NEXT_TOKEN), limit=between)
    yield Panel("Whole answer", Unit.SECONDS, quantiles(Signal.WHOLE))


def _traffic(board: _Board, service: Service) -> Iterator[Panel]:
    def queries(*legends: tuple[Signal, str]) -> tuple[Query, ...]:
        selected = ((_of_service(board, service, signal), legend) for signal, legend in legends)
        return tuple(Query(each, legend) for each, legend in selected if each is not None)

    def rates(signal: Signal, label: str) -> tuple[Query, ...]:
        return tuple(
            Query(summed(rate(each.expression, WINDOW), label), f"{{{{{label}}}}}") for each in queries((signal, label))
        )

    yield Panel(
        "Requests",
        Unit.COUNT,
        queries((Signal.RUNNING, "running"), (Signal.WAITING, "waiting")),
        limit=service.max_num_seqs,
        description=f"{service.max_num_seqs} run at most; {service.concurrency} at full context.",
    )
    yield Panel("Requests ended a second, by reason", Unit.COUNT, rates(Signal.FINISHED, "finished_reason"))
    yield Panel("Answers a second, by HTTP status", Unit.COUNT, rates(Signal.ANSWERS, "status"))
    displaced = tuple(
        Query(rate(each.expression, WINDOW), each.legend) for each in queries((Signal.DISPLACED, "displaced"))
    )
    yield Panel("Requests displaced from the KV cache a second", Unit.COUNT, displaced)
    yield Panel("Prompt tokens found in the prefix cache", Unit.SHARE, _found(board, service))
    if service.draft is not None:
        yield Panel("Guessed tokens that were right", Unit.SHARE, _right(board, service))
    yield Panel(
        "KV cache in use",
        Unit.SHARE,
        queries((Signal.CACHE_USED, "used")),
        limit=KV_CACHE_FULL,
        description=f"{service.kv_cache.capacity_tokens} tokens in {service.kv_cache.num_blocks} blocks.",
    )


def _found(board: _Board, service: Service) -> tuple[Query, ...]:
    signals = (Signal.PREFIX_HITS, Signal.PREFIX_QUERIES, Signal.PREFIX_MISSES)
    selected = (_of_service(board, service, each) for each in signals)
    hits, asked, missed = (None if each is None else summed(rate(each, WINDOW), "service") for each in selected)
    if hits is None:
        return ()
    if asked is None:
        return () if missed is None else (Query(f"{hits}\n/ ({hits} + {missed})", "found"),)
    return (Query(f"{hits}\n/ {asked}", "found"),)


def _right(board: _Board, service: Service) -> tuple[Query, ...]:
    """Of all guesses: each that was wrong was checked for nothing."""
    selected = (_of_service(board, service, each) for each in (Signal.ACCEPTED, Signal.GUESSED))
    right, guessed = (None if each is None else summed(rate(each, WINDOW), "service") for each in selected)
    return () if right is None or guessed is None else (Query(f"{right}\n/ {guessed}", "right"),)


def _rollout(board: _Board, stable: str, candidate: str) -> Row:
    pair, place = (stable, candidate), {"stack": board.plan.stack}

    def select(signal: Signal) -> tuple[str, ...]:
        """One selector for each engine among the two."""
        found = dict.fromkeys(series_of(board.plan, name, signal) for name in pair)
        return tuple(board.metrics.select(each, place, among={"service": pair}) for each in found if each is not None)

    served = (summed(rate(each, WINDOW), "service") for each in select(Signal.ANSWERS))
    first = (quantile(0.95, each, WINDOW, "service") for each in select(Signal.FIRST_TOKEN))
    answers = ((name, series_of(board.plan, name, Signal.ANSWERS)) for name in pair)
    errors = tuple(
        Query(error_share(board.metrics, series, {**place, "service": name}, WINDOW), name)
        for name, series in answers
        if series is not None
    )
    panels = (
        Panel("Requests a second", Unit.COUNT, tuple(Query(each, "{{service}}") for each in served)),
        Panel("Share of requests that fail", Unit.SHARE, errors),
        Panel(
            "First token, 95 of 100 requests",
            Unit.SECONDS,
            tuple(Query(each, "{{service}}") for each in first),
            limit=board.monitoring.ttft_p95_seconds,
        ),
    )
    return Row(f"{candidate} beside {stable}", _with_queries(panels))


def _gpus(board: _Board) -> Row:
    def of_each(title: str, unit: Unit, series: str) -> Panel:
        return Panel(title, unit, tuple(_gpu_queries(board, series)), width=6)

    panels = [
        Panel(
            f"Memory of GPU {device.index}",
            Unit.MEBIBYTES,
            (Query(board.select("DCGM_FI_DEV_FB_USED", **device_matcher(board.plan, device)), "used"),),
            limit=memory_limit_mib(device),
            description="The line is the most that the plan allows.",
            width=6,
        )
        for device in (() if is_sliced(board.plan) else used_devices(board.plan))
    ]
    panels += [
        of_each("Work", Unit.PERCENT, "DCGM_FI_DEV_GPU_UTIL"),
        of_each("Temperature", Unit.CELSIUS, "DCGM_FI_DEV_GPU_TEMP"),
        of_each("Power", Unit.WATTS, "DCGM_FI_DEV_POWER_USAGE"),
    ]
    xid = tuple(_gpu_queries(board, "DCGM_FI_DEV_XID_ERRORS"))
    panels.append(Panel("Last error (XID)", Unit.COUNT, xid, Shape.VALUE, limit=1, width=6))
    return Row("GPUs", tuple(panels))


def _gpu_queries(board: _Board, series: str) -> Iterator[Query]:
    if is_sliced(board.plan):
        yield Query(board.select(series), "GPU {{gpu}}")
        return
    for device in used_devices(board.plan):
        yield Query(board.select(series, **device_matcher(board.plan, device)), f"GPU {device.index}")
