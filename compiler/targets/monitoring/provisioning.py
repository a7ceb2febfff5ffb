"""`monitoring/grafana/provisioning/`: what the Grafana of the compose file loads by itself."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.catalog.compose import PROMETHEUS
from compiler.plan.ir import Plan
from compiler.plan.operations import Monitoring

DASHBOARDS = "/var/lib/grafana/dashboards"
"""Where the compose file mounts ../monitoring/grafana/dashboards."""

_PROMETHEUS_PORT = 9090


@dataclass(frozen=True, slots=True)
class Provisioning:
    """One data source and one folder of dashboards."""

    stack: str
    datasource: str
    url: str
    scrape_seconds: int
    dashboards: str


def provisioning(plan: Plan, monitoring: Monitoring) -> Provisioning:
    """For the Prometheus of the same compose file, by the port that it has inside."""
    return Provisioning(
        stack=plan.stack,
        datasource=f"stackc-{plan.stack}",
        url=f"http://{PROMETHEUS}:{_PROMETHEUS_PORT}",
        scrape_seconds=monitoring.scrape_seconds,
        dashboards=DASHBOARDS,
    )
