"""`monitoring/prometheus.yml` and its twin for compose: whom Prometheus asks, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compiler.catalog.compose import DCGM
from compiler.hosts import is_wildcard
from compiler.plan.ir import Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.monitoring.shared_alerts import gpu_job

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
    """Targets that are asked alike. The interval is in each job, so that a job can be copied elsewhere. Seconds."""

    name: str
    interval: int
    timeout: int
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
    return _file(plan, monitoring, "a Prometheus on this machine", _host_address, exporter)


def compose_file(plan: Plan, monitoring: Monitoring) -> PrometheusFile:
    """For the one that compose runs, in the servers' own network."""
    exporter = f"{DCGM}:{_DCGM_PORT}"
    where = "the container of ../compose/compose.yaml"
    return _file(plan, monitoring, where, lambda service: f"{service.name}:{service.port}", exporter)


def _host_address(service: Service) -> str:
    host = service.host
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return f"[{host}]:{service.port}" if ":" in host else f"{host}:{service.port}"


def _file(
    plan: Plan, monitoring: Monitoring, where: str, address: Callable[[Service], str], exporter: str
) -> PrometheusFile:
    servers = tuple(ScrapeTarget(address(service), _labels(plan, service)) for service in plan.services)
    jobs = [_job(monitoring, f"{plan.stack}-{plan.node.name}-servers", servers)]
    if monitoring.has_dcgm:
        gpus = ScrapeTarget(exporter, (("stack", plan.stack), ("node", plan.node.name)))
        jobs.append(_job(monitoring, gpu_job(plan), (gpus,)))
    return PrometheusFile(plan.stack, where, monitoring.scrape_seconds, tuple(jobs))


def _job(monitoring: Monitoring, name: str, targets: tuple[ScrapeTarget, ...]) -> ScrapeJob:
    interval = monitoring.scrape_seconds
    return ScrapeJob(name, interval, min(interval, _TIMEOUT_SECONDS), targets)


def _labels(plan: Plan, service: Service) -> tuple[tuple[str, str], ...]:
    revision = "candidate" if service.candidate_of is not None else "stable"
    return (("stack", plan.stack), ("node", plan.node.name), ("service", service.name), ("revision", revision))
