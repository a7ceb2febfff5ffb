"""`monitoring/rules.yml`: the alerts as a document."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.targets.monitoring.promql import Metrics


class Severity(StrEnum):
    """Whether somebody has to get up: users get no answer, or will not for long."""

    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        hold: seconds for which the expression must hold.
        labels: beside the severity.
        summary: one line; `description` has the numbers, with Prometheus' own placeholders.
        action: the first thing to do.
    """

    name: str
    expression: str
    hold: int
    severity: Severity
    labels: tuple[tuple[str, str], ...]
    summary: str
    description: str
    action: str


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that Prometheus evaluates together."""

    name: str
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """The whole file. It cannot be made with an expression over a metric that nobody exposes."""

    stack: str
    groups: tuple[Group, ...]
    metrics: Metrics

    def __post_init__(self) -> None:
        for alert in self.alerts:
            self.metrics.check(alert.expression)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Of all groups."""
        return tuple(alert for group in self.groups for alert in group.alerts)
