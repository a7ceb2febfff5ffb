"""The alerts of a service of which several replicas run on a node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.plan.ir import Plan, Service
from compiler.plan.operations import Monitoring
from compiler.targets.monitoring.commands import status_command
from compiler.targets.monitoring.promql import Metrics, summed
from compiler.targets.monitoring.rules import Alert, Group, Severity
from compiler.targets.monitoring.thresholds import server_thresholds


def replica_groups(plan: Plan, monitoring: Monitoring, metrics: Metrics) -> Iterator[Group]:
    """Of every service with replicas, one group of alerts about all of them that run here."""
    here: dict[str, list[Service]] = {}
    for service in plan.services:
        if service.replicas > 1:
            here.setdefault(service.of, []).append(service)
    for name, replicas in here.items():
        # One Prometheus may look after several nodes, and it takes each name once.
        where = f" on {plan.node.name}" if plan.folder else ""
        yield Group(
            f"{plan.stack}/replicas of {name}{where}", tuple(_alerts(plan, monitoring, name, replicas, metrics))
        )


def _alerts(
    plan: Plan, monitoring: Monitoring, name: str, replicas: Sequence[Service], metrics: Metrics
) -> Iterator[Alert]:
    labels = (("stack", plan.stack), ("service", name), ("node", plan.node.name))
    up = summed(metrics.select("up", dict(labels)), "stack", "service", "node")
    limits = [server_thresholds(monitoring, each) for each in replicas]
    count, last = len(replicas), replicas[-1]
    where = f"{count} of its {last.replicas} replicas run on {plan.node.name}"
    status = status_command(plan, last.name)
    if count > 1:
        yield Alert(
            name="ReplicasMissing",
            expression=f"{up} < {count}",
            hold=max(each.down for each in limits),
            severity=Severity.WARNING,
            labels=labels,
            summary=f"fewer than {count} replicas of {name} answer",
            description=f"{{{{ $value }}}} answer, for longer than a start may take. {where}; the others have their "
            "requests as well, and no more room than before.",
            action=f"The dashboard shows which one does not, and its unit or container why: {status}",
        )
    yield Alert(
        name="NoReplicaAnswers",
        expression=f"{up} == 0",
        hold=max(each.unreachable for each in limits),
        severity=Severity.CRITICAL,
        labels=labels,
        summary=f"no replica of {name} answers on {plan.node.name}",
        description=f"{where}, and none of them answers.",
        action=f"If nobody restarted all of them on purpose: {status}",
    )
