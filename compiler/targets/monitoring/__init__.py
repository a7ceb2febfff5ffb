"""`monitoring/`: what Prometheus scrapes and when it raises an alarm, and a Grafana dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from compiler.plan.ir import Plan
from compiler.plan.operations import Monitoring
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.targets.monitoring.dashboard import dashboard
from compiler.targets.monitoring.guide import guide
from compiler.targets.monitoring.panels import dashboard_json
from compiler.targets.monitoring.promql import Metrics, metrics_of
from compiler.targets.monitoring.provisioning import provisioning
from compiler.targets.monitoring.replica_alerts import replica_groups
from compiler.targets.monitoring.rules import Group, RuleFile
from compiler.targets.monitoring.scrape import compose_file, host_file
from compiler.targets.monitoring.server_alerts import server_group
from compiler.targets.monitoring.shared_alerts import gpu_group, revisions, rollout_group, watched

__all__ = ["emit_monitoring", "rule_file"]

MONITORING = PurePosixPath("monitoring")
_GRAFANA = MONITORING / "grafana"


def emit_monitoring(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `monitoring/`; nothing where the plan has no monitoring."""
    return () if plan.monitoring is None else tuple(_artifacts(plan, plan.monitoring))


def _artifacts(plan: Plan, monitoring: Monitoring) -> Iterator[Artifact]:
    rules = rule_file(plan, monitoring)
    yield Artifact(MONITORING / "rules.yml", render("monitoring/rules.j2", file=rules))
    host = render("monitoring/prometheus.j2", file=host_file(plan, monitoring))
    yield Artifact(MONITORING / "prometheus.yml", host)
    if "compose" in plan.targets:
        compose = render("monitoring/prometheus.j2", file=compose_file(plan, monitoring))
        yield Artifact(MONITORING / "prometheus-compose.yml", compose)
    yield Artifact(MONITORING / "README.md", render("monitoring/guide.j2", guide=guide(plan, monitoring, rules)))
    if monitoring.has_grafana:
        yield from _grafana(plan, monitoring)


def _grafana(plan: Plan, monitoring: Monitoring) -> Iterator[Artifact]:
    text = json.dumps(dashboard_json(dashboard(plan, monitoring)), indent=2, sort_keys=True, ensure_ascii=True) + "\n"
    yield Artifact(_GRAFANA / "dashboards" / f"{plan.stack}.json", text)
    if "compose" in plan.targets:
        file = provisioning(plan, monitoring)
        for name in ("datasources", "dashboards"):
            path = _GRAFANA / "provisioning" / name / f"{plan.stack}.yaml"
            yield Artifact(path, render(f"monitoring/{name}.j2", file=file))


def rule_file(plan: Plan, monitoring: Monitoring) -> RuleFile:
    """All alerts of a plan as a document, and of the nodes whose servers its gateway serves."""
    metrics = metrics_of(plan, monitoring)
    return RuleFile(plan.stack, tuple(_groups(plan, monitoring, metrics)), metrics)


def _groups(plan: Plan, monitoring: Monitoring, metrics: Metrics) -> Iterator[Group]:
    for each in watched(plan):
        yield from (server_group(each, monitoring, service, metrics) for service in each.services)
        yield from replica_groups(each, monitoring, metrics)
    for stable, candidate in revisions(plan):
        group = rollout_group(plan, monitoring, stable, candidate, metrics)
        if group.alerts:
            yield group
    if monitoring.has_dcgm:
        yield from (gpu_group(each, monitoring, metrics) for each in watched(plan))
