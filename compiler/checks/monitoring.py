"""Rules about `monitoring`: objectives that can be measured, metrics that exist, ports and names that are free."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compiler.catalog.vllm.metrics import load_metrics
from compiler.catalog.vllm.releases import RELEASES
from compiler.checks.patches.compose import monitoring_containers
from compiler.diagnostics import Diagnostic, Edit, Help, Label
from compiler.spec.load import SpecFile
from compiler.spec.models import ServiceSpec
from compiler.spec.operations import MonitoringSpec

# Key of `monitoring`, the histogram that measures it, and vLLM's name for the family of its bounds.
_OBJECTIVES = (
    ("ttft_p95_seconds", "vllm:time_to_first_token_seconds", "time_to_first_token"),
    ("inter_token_p95_seconds", "vllm:inter_token_latency_seconds", "inter_token_latency"),
)


def check_monitoring(file: SpecFile) -> Iterator[Diagnostic]:
    """Everything that is wrong with the monitoring; nothing where the spec has none."""
    monitoring = file.spec.monitoring
    if monitoring is None:
        return
    if file.spec.engine.vllm in RELEASES:
        for key, histogram, family in _OBJECTIVES:
            yield from _check_objective(file, key, getattr(monitoring, key), histogram, family)
    yield from _check_statistics(file)
    yield from _check_ports(file, monitoring)
    yield from _check_names(file)


def _check_objective(file: SpecFile, key: str, objective: float, histogram: str, family: str) -> Iterator[Diagnostic]:
    """Between two bounds Prometheus guesses, and beyond the last finite one it sees nothing."""
    bounds = load_metrics(file.spec.engine.vllm).by_series[f"{histogram}_bucket"].buckets
    own = {name: _own_bounds(service, family) or bounds for name, service in file.spec.services.items()}
    usable = sorted(set.intersection(*(set(each[:-1]) for each in own.values())))
    if objective in usable:
        return
    other = next(name for name, each in own.items() if objective not in each[:-1])
    notes: tuple[str, ...] = (f"bounds of {histogram} at `{other}`: {', '.join(f'{bound:g}' for bound in own[other])}",)
    if objective == own[other][-1]:
        notes = (*notes, "beyond the last of them nothing is measured, so it cannot be exceeded")
    message = f"{objective:g} s is no bound by which vLLM counts, so an alert on it would be a guess"
    helps = tuple(_nearest(key, objective, usable)) or (Help("give the services bounds in common"),)
    yield Diagnostic("E0218", message, _label(file, key), notes, helps)


def _nearest(key: str, objective: float, bounds: Sequence[float]) -> Iterator[Help]:
    place = bisect_left(bounds, objective)
    for bound in bounds[max(0, place - 1) : place + 1]:
        yield Help(f"write `{key}: {bound:g}`", (Edit(("monitoring", key), _scalar(bound)),))


def _label(file: SpecFile, key: str) -> Label:
    """On the key's value, or on the whole monitoring where the spec leaves it to its default."""
    is_written = key in (file.document.data.get("monitoring") or {})
    return file.at("monitoring", key) if is_written else file.at_key("monitoring")


def _scalar(bound: float) -> int | float:
    return int(bound) if bound.is_integer() else bound


def _own_bounds(service: ServiceSpec, family: str) -> tuple[float, ...]:
    """Bounds that the service's arguments give for a family; nothing where they give none, or none that vLLM takes."""
    given = _argument(service, "custom-histogram-buckets")
    try:
        families = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return ()
    bounds = families.get(family) if isinstance(families, Mapping) else None
    if not isinstance(bounds, list) or not all(isinstance(bound, int | float) for bound in bounds):
        return ()
    return tuple(map(float, bounds))


def _argument(service: ServiceSpec, name: str) -> Any:
    """The value of an engine argument, however it is spelt."""
    return next((value for key, value in service.engine_args.items() if _spelt(key) == name), None)


def _spelt(key: str) -> str:
    return key.removeprefix("--").replace("_", "-")


def _check_statistics(file: SpecFile) -> Iterator[Diagnostic]:
    """A server without statistics exposes none of the metrics that the alerts are made of."""
    for name, service in file.spec.services.items():
        key = next((key for key in service.engine_args if _spelt(key) == "disable-log-stats"), None)
        if key is None or service.engine_args[key] is not True:
            continue
        path = ("services", name, "engine_args", key)
        message = f"service `{name}` exposes no metrics with `{key}`, and `monitoring` needs them"
        help_ = Help(f"remove `{key}`", (Edit(path, None),))
        yield Diagnostic("E0218", message, file.at_key(*path), helps=(help_,))


def _check_ports(file: SpecFile, monitoring: MonitoringSpec) -> Iterator[Diagnostic]:
    """Prometheus, Grafana and the exporter share the machine with the servers, and with each other."""
    taken = {service.port: f"service `{name}`" for name, service in file.spec.services.items()}
    # That the gateway has a port of its own is the gateway's matter (E0216); it is no free one all the same.
    gateway = {file.spec.gateway.port} if file.spec.gateway is not None else set()
    for key, title in _own_ports(file, monitoring):
        port: int = getattr(monitoring, key)
        if port not in taken:
            taken[port] = title
            continue
        free = next(each for each in (*range(port, 65536), *range(1024, 65536)) if each not in {*taken, *gateway})
        help_ = Help(f"write `{key}: {free}`", (Edit(("monitoring", key), free),))
        yield Diagnostic(
            "E0218", f"{taken[port]} and {title} both listen on port {port}", _label(file, key), helps=(help_,)
        )
        taken[free] = title


def _own_ports(file: SpecFile, monitoring: MonitoringSpec) -> Iterator[tuple[str, str]]:
    if "compose" in file.spec.targets:
        yield "port", "Prometheus"
        if monitoring.grafana:
            yield "grafana_port", "Grafana"
    if monitoring.dcgm and file.spec.has_gpus:
        yield "dcgm_port", "NVIDIA's exporter"


def _check_names(file: SpecFile) -> Iterator[Diagnostic]:
    """Compose has a container of each of these names."""
    if "compose" not in file.spec.targets:
        return
    for name in monitoring_containers(file.spec):
        if name not in file.spec.services:
            continue
        message = f"a service cannot be called `{name}`: the monitoring has a container of that name"
        help_ = Help(f"call it `{name}-server`")
        yield Diagnostic("E0218", message, file.at_key("services", name), helps=(help_,))
