"""The alerts of one server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.plan.ir import Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.monitoring import thresholds
from compiler.targets.monitoring.commands import logs_command, smoke_command, status_command
from compiler.targets.monitoring.promql import Metrics, duration, quantile, rate, summed
from compiler.targets.monitoring.rules import Alert, Group, Severity
from compiler.targets.monitoring.thresholds import ServerThresholds, server_thresholds, waits_for

# Of one answer's reading; `le` is the histogram's own.
_BY = ("stack", "service", "revision", "node", "model_name")


@dataclass(frozen=True, slots=True)
class _Server:
    """One server, with all that its alerts are made from."""

    plan: Plan
    monitoring: Monitoring
    service: Service
    metrics: Metrics
    limits: ServerThresholds

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        return (("stack", self.plan.stack), ("service", self.service.name))

    @property
    def window(self) -> str:
        return duration(self.limits.window)

    def select(self, series: str, **equal: str) -> str:
        return self.metrics.select(series, {**dict(self.labels), **equal})

    def alert(
        self,
        name: str,
        expression: str,
        hold: int,
        *,
        severity: Severity,
        summary: str,
        description: str,
        action: str,
    ) -> Alert:
        return Alert(
            name=name,
            expression=expression,
            hold=hold,
            severity=severity,
            labels=self.labels,
            summary=summary,
            description=description,
            action=action,
        )


def server_group(plan: Plan, monitoring: Monitoring, service: Service, metrics: Metrics) -> Group:
    """All alerts of one server."""
    server = _Server(plan, monitoring, service, metrics, server_thresholds(monitoring, service))
    alerts = [*_presence(server), *_load(server), *_failures(server), _not_as_planned(server)]
    if service.task in thresholds.GENERATING:
        alerts += _latency(server)
    return Group(f"{plan.stack}/{service.name}", tuple(alerts))


def _presence(server: _Server) -> Iterator[Alert]:
    yield _down(server)
    name, limits = server.service.name, server.limits
    up = server.select("up")
    yield server.alert(
        "ServerUnreachable",
        f"{up} == 0",
        limits.unreachable,
        severity=Severity.WARNING,
        summary=f"{name} does not answer",
        description=f"Requests for {server.service.served_name} fail while it does not. It is down, or starting: a "
        f"start may take up to {_minutes(limits.down)}, and longer behind other servers that start first.",
        action=f"If nobody restarted it on purpose: {status_command(server.plan, name)}",
    )
    yield server.alert(
        "MetricsMissing",
        f"{up} == 1\nunless on (instance) {server.select('vllm:num_requests_running')}",
        limits.window,
        severity=Severity.WARNING,
        summary=f"{name} answers without vLLM's metrics",
        description="No other alert of this server can fire. Another program listens on its port, or it runs with "
        "--disable-log-stats.",
        action=smoke_command(server.plan, name),
    )
    changes = f"changes({server.select('process_start_time_seconds')}[{duration(limits.restart_window)}])"
    yield server.alert(
        "ServerRestarts",
        f"{changes} > {limits.restarts}",
        0,
        severity=Severity.WARNING,
        summary=f"{name} restarts again and again",
        description=f"{{{{ $value }}}} restarts within {_minutes(limits.restart_window)}; more than {limits.restarts} "
        "are no upgrade. Each one ends the requests that run.",
        action=f"Read why it ended: {logs_command(server.plan, name)}",
    )


def _down(server: _Server) -> Alert:
    """Longer than any planned start of its own; time that it spends waiting for others does not count."""
    before = waits_for(server.plan, server.service)
    own = f"{server.select('up')} == 0"
    others = ""
    if before:
        earlier = server.metrics.select("up", {"stack": server.plan.stack}, among={"service": before})
        others = f"\nand on (stack) min by (stack) ({earlier}) == 1"
    waiting = f", although {', '.join(before)} answered" if before else ""
    name = server.service.name
    return server.alert(
        "ServerDown",
        own + others,
        server.limits.down,
        severity=Severity.CRITICAL,
        summary=f"{name} is down and not coming back",
        description=f"It has not answered for {_minutes(server.limits.down)}{waiting}: preflight and load have had "
        f"all their time. Nobody serves {server.service.served_name} from here.",
        action=f"{status_command(server.plan, name)}; then {logs_command(server.plan, name)}",
    )


def _load(server: _Server) -> Iterator[Alert]:
    name, limits, window = server.service.name, server.limits, server.window
    waiting, running = server.select("vllm:num_requests_waiting"), server.select("vllm:num_requests_running")
    yield server.alert(
        "QueueLong",
        f"{waiting}\n> clamp_min({running}, {limits.queue})",
        limits.queue_seconds,
        severity=Severity.WARNING,
        summary=f"more requests wait at {name} than run",
        description=f"{{{{ $value }}}} requests wait, each for a whole answer of another one. The plan promises "
        f"{limits.queue} at once at full context, and admits {server.service.max_num_seqs}.",
        action="Lower the rate of the clients, or compile with more concurrency or a shorter context.",
    )
    used = server.select("vllm:kv_cache_usage_perc")
    displaced = rate(server.select("vllm:num_preemptions_total"), window)
    yield server.alert(
        "KvCacheFull",
        f"{used} > {thresholds.KV_CACHE_FULL}\nand {displaced} > 0",
        limits.window,
        severity=Severity.WARNING,
        summary=f"{name} displaces requests from its KV cache",
        description="{{ $value | humanizePercentage }} of the cache is used, and requests that were displaced are "
        f"computed again. It holds {server.service.kv_cache.capacity_tokens} tokens.",
        action="Lower the rate of the clients, or compile with more concurrency or a shorter context.",
    )
    iterations = f"increase({server.select('vllm:iteration_tokens_total_count')}[{window}])"
    yield server.alert(
        "EngineStalled",
        # A long prompt alone gives no token for a while, but fills the cache; a stalled engine does neither.
        f"min_over_time({running}[{window}]) > 0\nand {iterations} == 0\nand changes({used}[{window}]) == 0",
        60,
        severity=Severity.CRITICAL,
        summary=f"{name} has requests and does nothing",
        description=f"{{{{ $value }}}} requests run, and for {_minutes(limits.window)} there was no token and no "
        "change of the KV cache. /health does not notice this.",
        action=f"Keep the log, then restart it: {logs_command(server.plan, name)}",
    )


def _latency(server: _Server) -> Iterator[Alert]:
    name, limits = server.service.name, server.limits
    objective = server.monitoring.ttft_p95_seconds
    first = quantile(0.95, server.select("vllm:time_to_first_token_seconds_bucket"), server.window, *_BY)
    yield server.alert(
        "FirstTokenSlow",
        f"{first} > {objective:g}",
        limits.hold,
        severity=Severity.WARNING,
        summary=f"answers of {name} begin late",
        description=f"1 of 20 requests waits {{{{ $value | humanizeDuration }}}} or longer for its first token; the "
        f"objective is {objective:g} s.",
        action="See the queue and the KV cache on the dashboard: without a queue the prompts themselves are long.",
    )
    objective = server.monitoring.inter_token_p95_seconds
    next_ = quantile(0.95, server.select("vllm:inter_token_latency_seconds_bucket"), server.window, *_BY)
    yield server.alert(
        "TokensSlow",
        f"{next_} > {objective:g}",
        limits.hold,
        severity=Severity.WARNING,
        summary=f"answers of {name} come slowly",
        description=f"1 of 20 tokens comes {{{{ $value | humanizeDuration }}}} or more after the one before; the "
        f"objective is {objective:g} s.",
        action="See how many requests run on the dashboard, and whether another server works on the same GPU.",
    )


def _failures(server: _Server) -> Iterator[Alert]:
    name, limits, window = server.service.name, server.limits, server.window
    yield server.alert(
        "RequestErrors",
        f"{error_share(server.metrics, dict(server.labels), window)} > {thresholds.ERROR_SHARE}",
        limits.hold,
        severity=Severity.CRITICAL,
        summary=f"{name} answers with errors",
        description=f"{{{{ $value | humanizePercentage }}}} of its requests get a status of 500 or above; more "
        f"than {thresholds.ERROR_SHARE:.0%} are too many.",
        action=f"{logs_command(server.plan, name)}; then {smoke_command(server.plan, name)}",
    )
    failed = f"increase({server.select('vllm:request_success_total', finished_reason='error')}[{window}])"
    yield server.alert(
        "EngineErrors",
        f"{failed} > 0",
        0,
        severity=Severity.WARNING,
        summary=f"requests fail inside the engine of {name}",
        description="{{ $value | printf `%.0f` }} requests ended with an internal error, some of them in the middle "
        "of a streamed answer.",
        action=logs_command(server.plan, name),
    )
    ended = server.select("vllm:request_success_total")
    aborted = server.select("vllm:request_success_total", finished_reason="abort")
    share = f"{summed(rate(aborted, window), *_BY)}\n/ {summed(rate(ended, window), *_BY)}"
    yield server.alert(
        "RequestsAborted",
        f"{share} > {thresholds.ABORTED_SHARE}",
        limits.hold,
        severity=Severity.WARNING,
        summary=f"most clients of {name} leave before their answer is complete",
        description="{{ $value | humanizePercentage }} of its requests are broken off by their clients, or by a "
        "time-out between.",
        action="Compare the clients' time-outs with the time to first token on the dashboard.",
    )


def _not_as_planned(server: _Server) -> Alert:
    limits, labels = server.limits, dict(server.labels)
    planned = (("num_gpu_blocks", str(limits.num_blocks)), ("block_size", str(limits.block_size)))
    others = [server.metrics.select("vllm:cache_config_info", labels, differing=dict((pair,))) for pair in planned]
    return server.alert(
        "KvCacheNotAsPlanned",
        "\nor ".join(others),
        limits.window,
        severity=Severity.WARNING,
        summary=f"{server.service.name} is not the server of the plan",
        description=f"Its KV cache has {{{{ $labels.num_gpu_blocks }}}} blocks of {{{{ $labels.block_size }}}} "
        "tokens; the plan "
        f"says {limits.num_blocks} of {limits.block_size}. It was started with other options, or from another tree.",
        action=smoke_command(server.plan, server.service.name),
    )


def error_share(metrics: Metrics, labels: dict[str, str], window: str) -> str:
    """Share of a server's requests that fail. A server without any error yet has no series of them."""
    by = ("stack", "service")
    total = summed(rate(metrics.select("http_requests_total", labels), window), *by)
    failed = summed(rate(metrics.select("http_requests_total", {**labels, "status": "5xx"}), window), *by)
    return f"(\n  ({failed} or 0 * {total})\n  / {total}\n)"


def _minutes(seconds: int) -> str:
    return f"{seconds / 60:.0f} minutes"
