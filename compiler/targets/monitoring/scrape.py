"""`monitoring/prometheus.yml` and its twin for compose: whom Prometheus asks, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from compiler.catalog.compose import DCGM
from compiler.hosts import is_wildcard
from compiler.plan.ir import Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.containers import SECRETS
from compiler.targets.monitoring.shared_alerts import gpu_job, served_by, server_job
from compiler.targets.monitoring.thresholds import server_labels

# Prometheus' default; never longer than the interval, which it refuses.
_TIMEOUT_SECONDS = 10
_DCGM_PORT = 9400


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One address, and the labels that every series from there gets."""

    address: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ScrapeJob:
    """Targets that are asked alike. The interval is in each job, so that a job can be copied elsewhere. Seconds.

    Attributes:
        key_file: of the key that is shown; None where none is asked for.
    """

    name: str
    interval: int
    timeout: int
    key_file: str | None
    targets: tuple[ScrapeTarget, ...]


@dataclass(frozen=True, slots=True)
class PrometheusFile:
    """The whole file."""

    stack: str
    where: str
    interval: int
    jobs: tuple[ScrapeJob, ...]


def host_file(plan: Plan, monitoring: Monitoring) -> PrometheusFile:
    """For a Prometheus on the machine itself."""
    exporter = f"127.0.0.1:{monitoring.dcgm_port}"
    place = _Place("a Prometheus on this machine", _host_address, plan.secrets.api_key, exporter)
    return _file(plan, monitoring, place)


def compose_file(plan: Plan, monitoring: Monitoring) -> PrometheusFile:
    """For the one that compose runs, in the servers' own network."""
    where = "the container of ../compose/compose.yaml"
    key_file = None if plan.secrets.api_key is None else f"{SECRETS}/api-key"
    place = _Place(where, lambda service: f"{service.name}:{service.port}", key_file, f"{DCGM}:{_DCGM_PORT}")
    return _file(plan, monitoring, place)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a Prometheus runs: how it finds servers and the exporter, and the key."""

    where: str
    address: Callable[[Service], str]
    key_file: str | None
    exporter: str


def _host_address(service: Service) -> str:
    host = service.host
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return f"{_bracketed(host)}:{service.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _file(plan: Plan, monitoring: Monitoring, place: _Place) -> PrometheusFile:
    jobs = list(_jobs(plan, monitoring, place))
    for each in plan.neighbours:
        exporter = f"{_bracketed(each.node.address or '')}:{monitoring.dcgm_port}"
        jobs += _jobs(each, monitoring, replace(place, address=_host_address, exporter=exporter))
    return PrometheusFile(plan.stack, place.where, monitoring.scrape_seconds, tuple(jobs))


def _jobs(plan: Plan, monitoring: Monitoring, place: _Place) -> Iterator[ScrapeJob]:
    yield from (_server_job(plan, monitoring, place, name) for name in served_by(plan))
    if monitoring.has_dcgm:
        gpus = ScrapeTarget(place.exporter, (("stack", plan.stack), ("node", plan.node.name)))
        yield _job(monitoring, gpu_job(plan), (gpus,))


def _server_job(plan: Plan, monitoring: Monitoring, place: _Place, engine: str) -> ScrapeJob:
    """Servers of one engine: each engine has its own way to be asked."""
    host = plan.engines[engine].host
    own = (service for service in plan.services if service.engine == engine)
    targets = tuple(ScrapeTarget(place.address(service), series_labels(plan, service)) for service in own)
    job = _job(monitoring, server_job(plan, engine), targets)
    return replace(
        job,
        key_file=place.key_file if host.guards_metrics else None,
        timeout=job.interval if host.has_slow_metrics else job.timeout,
    )


def _job(monitoring: Monitoring, name: str, targets: tuple[ScrapeTarget, ...]) -> ScrapeJob:
    interval = monitoring.scrape_seconds
    return ScrapeJob(name, interval, min(interval, _TIMEOUT_SECONDS), None, targets)


def series_labels(plan: Plan, service: Service) -> tuple[tuple[str, str], ...]:
    """That every series of a server gets, whoever scrapes it."""
    revision = "candidate" if service.candidate_of is not None else "stable"
    place = (("stack", plan.stack), ("node", plan.node.name))
    return (*place, *server_labels(service), ("revision", revision))
