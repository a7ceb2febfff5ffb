"""The alerts of one server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.engines.interface.host import HostFacts, Signal
from compiler.plan.ir import Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.monitoring import thresholds
from compiler.targets.monitoring.commands import logs_command, smoke_command, status_command
from compiler.targets.monitoring.promql import Metrics, duration, quantile, rate, summed
from compiler.targets.monitoring.rules import Alert, Group, Severity
from compiler.targets.monitoring.thresholds import ServerThresholds, server_labels, server_thresholds, waits_for

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
        return (("stack", self.plan.stack), *server_labels(self.service))

    @property
    def window(self) -> str:
        return duration(self.limits.window)

    @property
    def host(self) -> HostFacts:
        return self.plan.engine_of(self.service).host

    def has(self, *signals: Signal) -> bool:
        return self.host.signals.keys() >= set(signals)

    def select(self, what: Signal | str, **equal: str) -> str:
        series = self.host.signals[what] if isinstance(what, Signal) else what
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
    """All alerts of one server for which its engine has the metrics."""
    server = _Server(plan, monitoring, service, metrics, server_thresholds(monitoring, service))
    alerts = [*_presence(server), *_load(server), *_failures(server)]
    if server.has(Signal.CACHE_FACTS):
        alerts.append(_not_as_planned(server))
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
        f"{up} == 1\nunless on (instance) {server.select(Signal.RUNNING)}",
        limits.window,
        severity=Severity.WARNING,
        summary=f"{name} answers without {server.host.title}'s metrics",
        description="No other alert of this server can fire. Another program listens on its port, or it runs "
        f"{server.host.unmeasured}.",
        action=smoke_command(server.plan, name),
    )
    if server.has(Signal.STARTED):
        yield _restarts(server, f"changes({server.select(Signal.STARTED)}[{duration(server.limits.restart_window)}])")
    elif server.has(Signal.PROMPTED):
        # A counter that begins again; every request adds to this one.
        yield _restarts(server, f"resets({server.select(Signal.PROMPTED)}[{duration(server.limits.restart_window)}])")


def _restarts(server: _Server, changes: str) -> Alert:
    name, limits = server.service.name, server.limits
    return server.alert(
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
        earlier = "\nor ".join(_up_of(server, before))
        others = f"\nand on (stack) min by (stack) ({earlier}) == 1"
    alone = server.service.replicas == 1
    rest = "Nobody serves" if alone else "Its other replicas alone serve"
    waiting = f", although {', '.join(before)} answered" if before else ""
    name = server.service.name
    return server.alert(
        "ServerDown",
        own + others,
        server.limits.down,
        severity=Severity.CRITICAL if alone else Severity.WARNING,
        summary=f"{name} is down and not coming back",
        description=f"It has not answered for {_minutes(server.limits.down)}{waiting}: preflight and load have had "
        f"all their time. {rest} {server.service.served_name} from here.",
        action=f"{status_command(server.plan, name)}; then {logs_command(server.plan, name)}",
    )


def _up_of(server: _Server, names: tuple[str, ...]) -> Iterator[str]:
    """Whether other servers answer: those that are alone by their services, replicas by their own names."""
    among: dict[str, list[str]] = {}
    for name in names:
        label, value = server_labels(server.plan.service(name))[-1]
        among.setdefault(label, []).append(value)
    for label, values in among.items():
        yield server.metrics.select("up", {"stack": server.plan.stack}, among={label: values})


def _load(server: _Server) -> Iterator[Alert]:
    if server.has(Signal.WAITING, Signal.RUNNING):
        yield _queue_long(server)
    if server.has(Signal.CACHE_USED, Signal.DISPLACED):
        yield _cache_full(server)
    if server.has(Signal.RUNNING, Signal.ITERATIONS, Signal.CACHE_USED):
        yield _stalled(server)


def _queue_long(server: _Server) -> Alert:
    limits = server.limits
    return server.alert(
        "QueueLong",
        f"{server.select(Signal.WAITING)}\n> clamp_min({server.select(Signal.RUNNING)}, {limits.queue})",
        limits.queue_seconds,
        severity=Severity.WARNING,
        summary=f"more requests wait at {server.service.name} than run",
        description=f"{{{{ $value }}}} requests wait, each for a whole answer of another one. The plan promises "
        f"{limits.queue} at once at full context, and admits {server.service.max_num_seqs}.",
        action="Lower the rate of the clients, or compile with more concurrency or a shorter context.",
    )


def _cache_full(server: _Server) -> Alert:
    displaced = rate(server.select(Signal.DISPLACED), server.window)
    return server.alert(
        "KvCacheFull",
        f"{server.select(Signal.CACHE_USED)} > {thresholds.KV_CACHE_FULL}\nand {displaced} > 0",
        server.limits.window,
        severity=Severity.WARNING,
        summary=f"{server.service.name} displaces requests from its KV cache",
        description="{{ $value | humanizePercentage }} of the cache is used, and requests that were displaced are "
        f"computed again. It holds {server.service.kv_cache.capacity_tokens} tokens.",
        action="Lower the rate of the clients, or compile with more concurrency or a shorter context.",
    )


def _stalled(server: _Server) -> Alert:
    name, window = server.service.name, server.window
    running, used = server.select(Signal.RUNNING), server.select(Signal.CACHE_USED)
    iterations = f"increase({server.select(Signal.ITERATIONS)}[{window}])"
    return server.alert(
        "EngineStalled",
        # A long prompt alone gives no token for a while, but fills the cache; a stalled engine does neither.
        f"min_over_time({running}[{window}]) > 0\nand {iterations} == 0\nand changes({used}[{window}]) == 0",
        60,
        severity=Severity.CRITICAL,
        summary=f"{name} has requests and does nothing",
        description=f"{{{{ $value }}}} requests run, and for {_minutes(server.limits.window)} there was no token and "
        "no change of the KV cache. /health does not notice this.",
        action=f"Keep the log, then restart it: {logs_command(server.plan, name)}",
    )


def _latency(server: _Server) -> Iterator[Alert]:
    if server.has(Signal.FIRST_TOKEN):
        yield _first_token_slow(server)
    if server.has(Signal.NEXT_TOKEN):
        yield _tokens_slow(server)


def _first_token_slow(server: _Server) -> Alert:
    name, limits = server.service.name, server.limits
    objective = server.monitoring.ttft_p95_seconds
    first = quantile(0.95, server.select(Signal.FIRST_TOKEN), server.window, *_BY)
    return server.alert(
        "FirstTokenSlow",
        f"{first} > {objective:g}",
        limits.hold,
        severity=Severity.WARNING,
        summary=f"answers of {name} begin late",
        description=f"1 of 20 requests waits {{{{ $value | humanizeDuration }}}} or longer for its first token; the "
        f"objective is {objective:g} s.",
        action="See the queue and the KV cache on the dashboard: without a queue the prompts themselves are long.",
    )


def _tokens_slow(server: _Server) -> Alert:
    name, limits = server.service.name, server.limits
    objective = server.monitoring.inter_token_p95_seconds
    next_ = quantile(0.95, server.select(Signal.NEXT_TOKEN), server.window, *_BY)
    return server.alert(
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
    if server.has(Signal.ANSWERS):
        yield _request_errors(server)
    if server.has(Signal.FINISHED):
        yield from (_engine_errors(server), _requests_aborted(server))


def _request_errors(server: _Server) -> Alert:
    name, limits = server.service.name, server.limits
    share = error_share(server.metrics, server.host.signals[Signal.ANSWERS], dict(server.labels), server.window)
    return server.alert(
        "RequestErrors",
        f"{share} > {thresholds.ERROR_SHARE}",
        limits.hold,
        severity=Severity.CRITICAL,
        summary=f"{name} answers with errors",
        description=f"{{{{ $value | humanizePercentage }}}} of its requests get a status of 500 or above; more "
        f"than {thresholds.ERROR_SHARE:.0%} are too many.",
        action=f"{logs_command(server.plan, name)}; then {smoke_command(server.plan, name)}",
    )


def _engine_errors(server: _Server) -> Alert:
    name = server.service.name
    failed = f"increase({server.select(Signal.FINISHED, finished_reason='error')}[{server.window}])"
    return server.alert(
        "EngineErrors",
        f"{failed} > 0",
        0,
        severity=Severity.WARNING,
        summary=f"requests fail inside the engine of {name}",
        description="{{ $value | printf `%.0f` }} requests ended with an internal error, some of them in the middle "
        "of a streamed answer.",
        action=logs_command(server.plan, name),
    )


def _requests_aborted(server: _Server) -> Alert:
    name, limits, window = server.service.name, server.limits, server.window
    ended = server.select(Signal.FINISHED)
    aborted = server.select(Signal.FINISHED, finished_reason="abort")
    share = f"{summed(rate(aborted, window), *_BY)}\n/ {summed(rate(ended, window), *_BY)}"
    return server.alert(
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
    series = server.host.signals[Signal.CACHE_FACTS]
    others = [server.metrics.select(series, labels, differing=dict((pair,))) for pair in planned]
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


def error_share(metrics: Metrics, answers: str, labels: dict[str, str], window: str) -> str:
    """Share of a server's requests that fail, by the series that counts its answers by status.

    A server without any error yet has no series of them.
    """
    by = ("stack", "service")
    total = summed(rate(metrics.select(answers, labels), window), *by)
    failed = summed(rate(metrics.select(answers, {**labels, "status": "5xx"}), window), *by)
    return f"(\n  ({failed} or 0 * {total})\n  / {total}\n)"


def _minutes(seconds: int) -> str:
    return f"{seconds / 60:.0f} minutes"
