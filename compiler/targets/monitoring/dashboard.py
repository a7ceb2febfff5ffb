"""`monitoring/grafana/dashboards/STACK.json`: what the stack does, with the plan's limits drawn in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.plan.ir import Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.monitoring.panels import WINDOW, Dashboard, Panel, Query, Row, Shape, Unit
from compiler.targets.monitoring.promql import Metrics, metrics_of, quantile, rate, summed
from compiler.targets.monitoring.server_alerts import error_share
from compiler.targets.monitoring.shared_alerts import device_matcher, is_sliced, revisions, used_devices
from compiler.targets.monitoring.thresholds import GENERATING, KV_CACHE_FULL, memory_limit_mib

_FIRST_TOKEN = "vllm:time_to_first_token_seconds_bucket"  # noqa: S105 (a metric)
_NEXT_TOKEN = "vllm:inter_token_latency_seconds_bucket"  # noqa: S105 (a metric)
_WHOLE = "vllm:e2e_request_latency_seconds_bucket"
_SHARES = (0.5, 0.95, 0.99)
_REFRESH_SECONDS = 30


def dashboard(plan: Plan, monitoring: Monitoring) -> Dashboard:
    """The dashboard of one node's stack."""
    metrics = metrics_of(plan, monitoring)
    title = f"{plan.stack} on {plan.node.name}" if plan.folder else plan.stack
    return Dashboard(
        name=plan.tree,
        title=f"vLLM: {title}",
        tags=("stackc", "vllm"),
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

    def by_service(self, series: str, **equal: str) -> Query:
        return Query(summed(self.select(series, **equal), "service"), "{{service}}")

    def rate_by_service(self, series: str) -> Query:
        return Query(summed(rate(self.select(series), WINDOW), "service"), "{{service}}")


def _rows(board: _Board) -> Iterator[Row]:
    yield _overview(board)
    for stable, candidate in revisions(board.plan):
        yield _rollout(board, stable, candidate)
    for service in board.plan.services:
        yield _service(board, service)
    if board.monitoring.has_dcgm:
        yield _gpus(board)


def _overview(board: _Board) -> Row:
    objective = board.monitoring.ttft_p95_seconds
    first = Query(quantile(0.95, board.select(_FIRST_TOKEN), WINDOW, "service"), "{{service}}")
    next_ = Query(quantile(0.95, board.select(_NEXT_TOKEN), WINDOW, "service"), "{{service}}")
    up = board.by_service("up", job=f"{board.plan.stack}-{board.plan.node.name}-servers")
    used = Query(f"max by (service) ({board.select('vllm:kv_cache_usage_perc')})", "{{service}}")
    return Row(
        "Overview",
        (
            Panel("Servers that answer", Unit.COUNT, (up,), Shape.VALUE, limit=1, bad_below=True, width=12),
            Panel(
                "Requests that run", Unit.COUNT, (board.by_service("vllm:num_requests_running"),), Shape.VALUE, width=12
            ),
            Panel("Requests that wait", Unit.COUNT, (board.by_service("vllm:num_requests_waiting"),)),
            Panel("First token, 95 of 100 requests", Unit.SECONDS, (first,), limit=objective),
            Panel("Between tokens, 95 of 100", Unit.SECONDS, (next_,), limit=board.monitoring.inter_token_p95_seconds),
            Panel("KV cache in use", Unit.SHARE, (used,), limit=KV_CACHE_FULL),
            Panel("Tokens generated a second", Unit.COUNT, (board.rate_by_service("vllm:generation_tokens_total"),)),
            Panel("Prompt tokens a second", Unit.COUNT, (board.rate_by_service("vllm:prompt_tokens_total"),)),
        ),
    )


def _service(board: _Board, service: Service) -> Row:
    return Row(f"{service.name}: {service.served_name}", (*_latencies(board, service), *_traffic(board, service)))


def _latencies(board: _Board, service: Service) -> Iterator[Panel]:
    def quantiles(series: str) -> tuple[Query, ...]:
        buckets = board.select(series, service=service.name)
        return tuple(Query(quantile(share, buckets, WINDOW), f"p{share * 100:.0f}") for share in _SHARES)

    if service.task in GENERATING:
        first, between = board.monitoring.ttft_p95_seconds, board.monitoring.inter_token_p95_seconds
        yield Panel("First token", Unit.SECONDS, quantiles(_FIRST_TOKEN), limit=first)
        yield Panel("Between tokens", Unit.SECONDS, quantiles(_NEXT_TOKEN), limit=between)
    yield Panel("Whole answer", Unit.SECONDS, quantiles(_WHOLE))


def _traffic(board: _Board, service: Service) -> Iterator[Panel]:
    def select(series: str) -> str:
        return board.select(series, service=service.name)

    def rates(series: str, label: str) -> Query:
        return Query(summed(rate(select(series), WINDOW), label), f"{{{{{label}}}}}")

    running, waiting = select("vllm:num_requests_running"), select("vllm:num_requests_waiting")
    yield Panel(
        "Requests",
        Unit.COUNT,
        (Query(running, "running"), Query(waiting, "waiting")),
        limit=service.max_num_seqs,
        description=f"{service.max_num_seqs} run at most; {service.concurrency} at full context.",
    )
    ended, answered = rates("vllm:request_success_total", "finished_reason"), rates("http_requests_total", "status")
    yield Panel("Requests ended a second, by reason", Unit.COUNT, (ended,))
    yield Panel("Answers a second, by HTTP status", Unit.COUNT, (answered,))
    displaced = Query(rate(select("vllm:num_preemptions_total"), WINDOW), "displaced")
    yield Panel("Requests displaced from the KV cache a second", Unit.COUNT, (displaced,))
    hits = summed(rate(select("vllm:prefix_cache_hits_total"), WINDOW), "service")
    asked = summed(rate(select("vllm:prefix_cache_queries_total"), WINDOW), "service")
    found = Query(f"{hits}\n/ {asked}", "found")
    yield Panel("Prompt tokens found in the prefix cache", Unit.SHARE, (found,))
    yield Panel(
        "KV cache in use",
        Unit.SHARE,
        (Query(select("vllm:kv_cache_usage_perc"), "used"),),
        limit=KV_CACHE_FULL,
        description=f"{service.kv_cache.capacity_tokens} tokens in {service.kv_cache.num_blocks} blocks.",
    )


def _rollout(board: _Board, stable: str, candidate: str) -> Row:
    both = {"service": (stable, candidate)}
    place = {"stack": board.plan.stack}

    def select(series: str) -> str:
        return board.metrics.select(series, place, among=both)

    served = summed(rate(select("http_requests_total"), WINDOW), "service")
    errors = tuple(
        Query(error_share(board.metrics, {**place, "service": name}, WINDOW), name) for name in (stable, candidate)
    )
    return Row(
        f"{candidate} beside {stable}",
        (
            Panel("Requests a second", Unit.COUNT, (Query(served, "{{service}}"),)),
            Panel("Share of requests that fail", Unit.SHARE, errors),
            Panel(
                "First token, 95 of 100 requests",
                Unit.SECONDS,
                (Query(quantile(0.95, select(_FIRST_TOKEN), WINDOW, "service"), "{{service}}"),),
                limit=board.monitoring.ttft_p95_seconds,
            ),
        ),
    )


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
