"""Rules about `monitoring`: objectives that can be measured, metrics that exist, ports and names that are free."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from compiler.checks.patches.compose import monitoring_containers
from compiler.checks.replicas import all_servers
from compiler.diagnostics import Diagnostic, Edit, Help, Label
from compiler.engines.interface.engine import Engines, LatencyHistogram
from compiler.spec.operations import MonitoringSpec
from compiler.spec.reading.load import SpecFile

# Keys of `monitoring` that say how fast servers are to be.
_OBJECTIVES = ("ttft_p95_seconds", "inter_token_p95_seconds")


def check_monitoring(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """Everything that is wrong with the monitoring; nothing where the spec has none."""
    monitoring = file.spec.monitoring
    if monitoring is None:
        return
    measured = _measured(file, engines)
    for key in _OBJECTIVES:
        own = {name: found[key] for name, found in measured.items() if key in found}
        if own:
            yield from _check_objective(file, key, own, engines)
        elif measured and _is_written(file, key):
            yield _unmeasured(file, key, engines)
    yield from _check_statistics(file, engines)
    yield from _check_ports(file, monitoring)
    yield from _check_names(file)


def _measured(file: SpecFile, engines: Engines) -> Mapping[str, Mapping[str, LatencyHistogram]]:
    """What each service measures, of those whose release is known."""
    pinned = file.spec.engine.releases
    services = ((name, service, engines[service.engine]) for name, service in file.spec.services.items())
    return {
        name: engine.latencies(service, release)
        for name, service, engine in services
        if (release := pinned.get(service.engine, "")) in engine.releases
    }


def _check_objective(
    file: SpecFile, key: str, own: Mapping[str, LatencyHistogram], engines: Engines
) -> Iterator[Diagnostic]:
    """Between two bounds Prometheus guesses, and beyond the last finite one it sees nothing."""
    objective: float = getattr(file.spec.monitoring, key)
    usable = sorted(set.intersection(*(set(each.bounds[:-1]) for each in own.values())))
    if objective in usable:
        return
    other, found = next((name, each) for name, each in own.items() if objective not in each.bounds[:-1])
    listed = ", ".join(f"{bound:g}" for bound in found.bounds)
    notes: tuple[str, ...] = (f"bounds of {found.series} at `{other}`: {listed}",)
    if objective == found.bounds[-1]:
        notes = (*notes, "beyond the last of them nothing is measured, so it cannot be exceeded")
    title = engines[file.spec.services[other].engine].title
    message = f"{objective:g} s is no bound by which {title} counts, so an alert on it would be a guess"
    helps = tuple(_nearest(key, objective, usable)) or (Help("give the services bounds in common"),)
    yield Diagnostic("E0218", message, _label(file, key), notes, helps)


def _unmeasured(file: SpecFile, key: str, engines: Engines) -> Diagnostic:
    """Nobody would be told that an objective is missed, which the spec states in words of its own."""
    titles = " and ".join(dict.fromkeys(engines[each.engine].title for each in file.spec.services.values()))
    message = f"no server of this stack measures `{key}`, so no alert could be on it"
    notes = (f"{titles} counts tokens and seconds, and has no histogram of them",)
    help_ = Help(f"remove `{key}`", (Edit(("monitoring", key), None),))
    return Diagnostic("E0218", message, _label(file, key), notes, (help_,))


def _nearest(key: str, objective: float, bounds: Sequence[float]) -> Iterator[Help]:
    place = bisect_left(bounds, objective)
    for bound in bounds[max(0, place - 1) : place + 1]:
        yield Help(f"write `{key}: {bound:g}`", (Edit(("monitoring", key), _scalar(bound)),))


def _label(file: SpecFile, key: str) -> Label:
    """On the key's value, or on the whole monitoring where the spec leaves it to its default."""
    return file.at("monitoring", key) if _is_written(file, key) else file.at_key("monitoring")


def _is_written(file: SpecFile, key: str) -> bool:
    return key in (file.document.data.get("monitoring") or {})


def _scalar(bound: float) -> int | float:
    return int(bound) if bound.is_integer() else bound


def _check_statistics(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """A server without statistics exposes none of the metrics that the alerts are made of."""
    for name, service in file.spec.services.items():
        key = engines[service.engine].silenced_by(service)
        if key is None:
            continue
        path = ("services", name, "engine_args", key)
        message = f"service `{name}` exposes no metrics with `{key}`, and `monitoring` needs them"
        help_ = Help(f"remove `{key}`", (Edit(path, None),))
        yield Diagnostic("E0218", message, file.at_key(*path), helps=(help_,))


def _check_ports(file: SpecFile, monitoring: MonitoringSpec) -> Iterator[Diagnostic]:
    """Prometheus, Grafana and the exporter share the machine with the servers, and with each other."""
    taken = {service.port: f"service `{name}`" for name, service in all_servers(file).spec.services.items()}
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
