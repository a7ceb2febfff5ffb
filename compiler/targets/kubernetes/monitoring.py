"""`kubernetes/monitoring.yaml`: whom the cluster's Prometheus scrapes and when it raises an alarm, for its operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compiler.plan.ir import Plan, Service
from compiler.plan.operations import Monitoring
from compiler.render.artifact import Artifact
from compiler.targets.kubernetes.documents import SERVER, STACK, Document, cluster, document, own_name, written
from compiler.targets.monitoring import rule_file
from compiler.targets.monitoring.rules import Alert, Group
from compiler.targets.monitoring.scrape import series_labels
from compiler.targets.monitoring.shared_alerts import server_job

_VERSION = "monitoring.coreos.com/v1"
MONITORING = "monitoring"


def emit_monitoring(plan: Plan) -> tuple[Artifact, ...]:
    """Nothing where the plan has no monitoring."""
    if plan.monitoring is None:
        return ()
    about = "What the Prometheus operator scrapes, and its alerts."
    return (written(plan, MONITORING, _documents(plan, plan.monitoring), about),)


def _documents(plan: Plan, monitoring: Monitoring) -> Iterator[Document]:
    for service in plan.services:
        found = document(
            plan, _VERSION, "ServiceMonitor", service.name, SERVER, spec=_monitor(plan, monitoring, service)
        )
        yield _found(plan, found)
    # Of GPUs the cluster's own exporter tells, under names of its own; alerts about them are its operators'.
    rules_of_servers = rule_file(plan, replace(monitoring, has_dcgm=False))
    groups = [_group(group) for group in rules_of_servers.groups]
    rules = document(plan, _VERSION, "PrometheusRule", own_name(plan, plan.stack), SERVER, spec={"groups": groups})
    yield _found(plan, rules)


def _found(plan: Plan, found: Document) -> Document:
    """With the labels by which the cluster's Prometheus looks for it."""
    metadata = found["metadata"]
    return {
        **found,
        "metadata": {**metadata, "labels": {**metadata["labels"], **dict(cluster(plan).monitoring_labels)}},
    }


def _monitor(plan: Plan, monitoring: Monitoring, service: Service) -> Document:
    host = plan.engine_of(service).host
    named = (("job", server_job(plan, service.engine)), *series_labels(plan, service))
    endpoint: Document = {
        "port": "http",
        "path": "/metrics",
        "interval": f"{monitoring.scrape_seconds}s",
        "relabelings": [{"action": "replace", "targetLabel": name, "replacement": value} for name, value in named],
    }
    if host.guards_metrics and plan.secrets.api_key is not None:
        key = {"name": cluster(plan).secret, "key": "api-key"}
        endpoint["authorization"] = {"type": "Bearer", "credentials": key}
    return {"selector": {"matchLabels": {STACK: plan.stack, "stackc/server": service.name}}, "endpoints": [endpoint]}


def _group(group: Group) -> Document:
    return {"name": group.name, "rules": [_rule(alert) for alert in group.alerts]}


def _rule(alert: Alert) -> Document:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": f"{alert.hold}s",
        "labels": {"severity": alert.severity.value, **dict(alert.labels)},
        "annotations": {"summary": alert.summary, "description": alert.description, "action": alert.action},
    }
