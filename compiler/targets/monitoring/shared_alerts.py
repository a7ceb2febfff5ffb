"""The alerts of the GPUs, and those that compare two revisions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.engines.interface.host import Signal
from compiler.plan.ir import DeviceLedger, GpuNode, Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.monitoring.commands import logs_command
from compiler.targets.monitoring.promql import Metrics, duration, quantile
from compiler.targets.monitoring.rules import Alert, Group, Severity
from compiler.targets.monitoring.server_alerts import error_share
from compiler.targets.monitoring.thresholds import (
    CANDIDATE_ERROR_SHARE,
    CANDIDATE_FACTOR,
    memory_limit_mib,
    rate_window,
)

_USED = "DCGM_FI_DEV_FB_USED"
_XID = "DCGM_FI_DEV_XID_ERRORS"


def gpu_group(plan: Plan, monitoring: Monitoring, metrics: Metrics) -> Group:
    """Of the GPUs that the stack uses."""
    alerts = [_missing(plan, monitoring, metrics)]
    for device in used_devices(plan):
        alerts += _device_alerts(plan, monitoring, device, metrics)
    return Group(f"{plan.stack}/gpus of {plan.node.name}", tuple(alerts))


def used_devices(plan: Plan) -> tuple[DeviceLedger, ...]:
    """GPUs on which a server runs."""
    return tuple(device for device in plan.devices if device.servers)


def device_matcher(plan: Plan, device: DeviceLedger) -> dict[str, str]:
    """How the exporter names a GPU. A slice has no name of its own there: it is the GPU that it is a slice of."""
    uuids = plan.node.uuids if isinstance(plan.node, GpuNode) and plan.node.mig is None else ()
    return {"UUID": uuids[device.index]} if uuids else {"gpu": str(device.index)}


def is_sliced(plan: Plan) -> bool:
    """Whether the devices are slices, of which the exporter's figures say nothing by index."""
    return isinstance(plan.node, GpuNode) and plan.node.mig is not None


def _missing(plan: Plan, monitoring: Monitoring, metrics: Metrics) -> Alert:
    labels = {"stack": plan.stack, "node": plan.node.name}
    up = metrics.select("up", {**labels, "job": gpu_job(plan)})
    return Alert(
        name="GpuMetricsMissing",
        expression=f"{up} == 0\nor ({up} == 1 unless on (instance) {metrics.select(_USED, labels)})",
        hold=2 * rate_window(monitoring),
        severity=Severity.WARNING,
        labels=tuple(labels.items()),
        summary=f"nobody sees the GPUs of {plan.node.name}",
        description=f"NVIDIA's exporter does not answer on port {monitoring.dcgm_port}, or has no {_USED}: releases "
        "from 4.9.0 on have other names by default. Errors of a GPU would go unnoticed.",
        action="See whether the exporter runs, and which release it is.",
    )


def gpu_job(plan: Plan) -> str:
    """Name of the exporter's scrape job."""
    return f"{plan.stack}-{plan.node.name}-gpus"


def watched(plan: Plan) -> tuple[Plan, ...]:
    """A node, and those that are looked after from it, because its gateway serves their servers."""
    return (plan, *plan.neighbours)


def served_by(plan: Plan) -> tuple[str, ...]:
    """Names of the engines that serve here, in the order in which their first servers start."""
    return tuple(dict.fromkeys(service.engine for service in plan.services))


def server_job(plan: Plan, engine: str) -> str:
    """Name of the scrape job of an engine's servers."""
    place = f"{plan.stack}-{plan.node.name}"
    return f"{place}-servers" if served_by(plan) == (engine,) else f"{place}-{engine}-servers"


def _device_alerts(plan: Plan, monitoring: Monitoring, device: DeviceLedger, metrics: Metrics) -> Iterator[Alert]:
    if is_sliced(plan):
        return
    place = {"stack": plan.stack, "node": plan.node.name}
    names = {**place, **device_matcher(plan, device)}
    labels = (*place.items(), ("gpu", str(device.index)))
    title = f"GPU {device.index} of {plan.node.name}"
    services = ", ".join(server.service for server in device.servers)
    yield Alert(
        name="GpuError",
        expression=f"{metrics.select(_XID, names)} > 0",
        hold=0,
        severity=Severity.CRITICAL,
        labels=labels,
        summary=f"{title} reported an error",
        description=f"The driver's last error of it is XID {{{{ $value }}}}; {services} on it may hang or give wrong "
        "answers. The number stays until the driver is loaded again.",
        action="dmesg | grep -i xid, and look the number up in NVIDIA's XID catalog: some mean that the GPU must be "
        "reset.",
    )
    limit = memory_limit_mib(device)
    yield Alert(
        name="GpuMemoryBeyondPlan",
        expression=f"{metrics.select(_USED, names)} > {limit}",
        hold=rate_window(monitoring),
        severity=Severity.WARNING,
        labels=labels,
        summary=f"{title} holds more than the plan allows",
        description=f"{{{{ $value }}}} MiB are used; {services} and the reserve may take {limit} MiB. The next start "
        "of a server may find too little.",
        action="nvidia-smi names the processes: a stranger, or a server that survived its unit.",
    )


def revisions(plan: Plan) -> tuple[tuple[str, str], ...]:
    """Services that run here in two revisions: the stable one's name and the candidate's."""
    names = {service.of for service in plan.reached}
    pairs = dict.fromkeys((service.candidate_of, service.of) for service in plan.reached)
    return tuple((stable, candidate) for stable, candidate in pairs if stable is not None and stable in names)


def rollout_group(plan: Plan, monitoring: Monitoring, stable: str, candidate: str, metrics: Metrics) -> Group:
    """Whether the candidate is much worse than what it is to replace, as far as both have the metrics."""
    alerts = []
    answers, first = (_of_both(plan, stable, candidate, signal) for signal in (Signal.ANSWERS, Signal.FIRST_TOKEN))
    if answers is not None:
        alerts.append(_candidate_errors(plan, monitoring, answers, metrics))
    if first is not None:
        alerts.append(_candidate_slow(plan, monitoring, first, metrics))
    return Group(f"{plan.stack}/rollout of {stable}", tuple(alerts))


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two revisions, and what the engine of each calls one signal."""

    stable: str
    candidate: str
    series: tuple[str, str]


def _of_both(plan: Plan, stable: str, candidate: str, signal: Signal) -> _Pair | None:
    old, new = (series_of(plan, name, signal) for name in (stable, candidate))
    return None if old is None or new is None else _Pair(stable, candidate, (old, new))


def series_of(plan: Plan, service: str, signal: Signal) -> str | None:
    """What a server's engine calls a signal; None where it has none."""
    return plan.engine_of(_first_of(plan, service)).host.signals.get(signal)


def _first_of(plan: Plan, service: str) -> Service:
    """The first server here of that name, or of a service of that name."""
    return next(each for each in plan.reached if service in (each.name, each.of))


def _candidate_errors(plan: Plan, monitoring: Monitoring, pair: _Pair, metrics: Metrics) -> Alert:
    window, stable, candidate = duration(rate_window(monitoring)), pair.stable, pair.candidate
    old, new = (
        error_share(metrics, series, {"stack": plan.stack, "service": name}, window)
        for name, series in zip((stable, candidate), pair.series, strict=True)
    )
    logs = logs_command(plan, _first_of(plan, candidate).name)
    return Alert(
        name="CandidateErrors",
        expression=f"{new}\n> {CANDIDATE_ERROR_SHARE}\nand on (stack) {new}\n> on (stack) {CANDIDATE_FACTOR:g} * {old}",
        hold=2 * rate_window(monitoring),
        severity=Severity.CRITICAL,
        labels=(("stack", plan.stack), ("service", candidate)),
        summary=f"{candidate} fails more often than {stable}",
        description=f"{{{{ $value | humanizePercentage }}}} of its requests fail: more than {CANDIDATE_FACTOR:g} "
        f"times the share of {stable}, and more than {CANDIDATE_ERROR_SHARE:.0%}.",
        action=f"Send all requests to {stable} again, then read the candidate's log: {logs}",
    )


def _candidate_slow(plan: Plan, monitoring: Monitoring, pair: _Pair, metrics: Metrics) -> Alert:
    window, stable, candidate = duration(rate_window(monitoring)), pair.stable, pair.candidate
    old, new = (
        quantile(0.95, metrics.select(series, {"stack": plan.stack, "service": name}), window, "stack", "service")
        for name, series in zip((stable, candidate), pair.series, strict=True)
    )
    return Alert(
        name="CandidateSlow",
        expression=f"{new}\n> on (stack) {CANDIDATE_FACTOR:g} * {old}",
        hold=2 * rate_window(monitoring),
        severity=Severity.WARNING,
        labels=(("stack", plan.stack), ("service", candidate)),
        summary=f"{candidate} answers much later than {stable}",
        description=f"1 of 20 of its requests waits {{{{ $value | humanizeDuration }}}} or longer for the first "
        f"token: more than {CANDIDATE_FACTOR:g} times as long as with {stable}.",
        action=f"Lower the candidate's weight, or send all requests to {stable} again.",
    )
