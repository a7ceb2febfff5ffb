"""Expressions of PromQL over metrics that are known to exist."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from compiler.catalog.metrics import DCGM, PROMETHEUS, Metric
from compiler.plan.ir import Plan
from compiler.plan.operations import Monitoring
from compiler.render.quoting import quote_promql

# Labels that a scrape adds (compiler/targets/monitoring/scrape.py), and those that Prometheus adds itself.
TARGET_LABELS = frozenset({"stack", "service", "replica", "revision", "node", "job", "instance"})

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(r"\{[^}]*\}|\[[^\]]*\]")
_CLAUSE = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
# Not what a parenthesis follows (a function), nor what stands inside a number such as 1e5.
_NAME = re.compile(r"(?<![\w:.])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])")
_OPERATORS = {"and", "or", "unless", "bool", "offset"}


def metric_names(expression: str) -> frozenset[str]:
    """The metrics that an expression asks for."""
    bare = expression
    for pattern in (_STRING, _BRACKETS, _CLAUSE):
        bare = pattern.sub(" ", bare)
    return frozenset(_NAME.findall(bare)) - _OPERATORS


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics that a plan's servers, GPUs and Prometheus itself have, by the names that are scraped."""

    by_series: Mapping[str, Metric]

    def select(
        self,
        series: str,
        equal: Mapping[str, str],
        *,
        differing: Mapping[str, str] | None = None,
        among: Mapping[str, Collection[str]] | None = None,
    ) -> str:
        """A selector; each label of `among` has one of the values.

        Raises:
            KeyError: there is no such metric, or it has no such label or value.
        """
        self._check(series, {**equal, **(differing or {}), **dict.fromkeys(among or {}, "")})
        matchers = [
            *(f"{label}={quote_promql(value)}" for label, value in equal.items()),
            *(f"{label}!={quote_promql(value)}" for label, value in (differing or {}).items()),
            *(f"{label}=~{quote_promql('|'.join(map(re.escape, values)))}" for label, values in (among or {}).items()),
        ]
        return f"{series}{{{','.join(matchers)}}}"

    def _check(self, series: str, labels: Mapping[str, str]) -> None:
        metric = self._metric(series)
        for label, value in labels.items():
            if label not in metric.labels | TARGET_LABELS:
                raise KeyError(f"{series} has no label {label}")
            if value and label in metric.values and value not in metric.values[label]:
                raise KeyError(f"{series} has no {label} {value}")

    def check(self, expression: str) -> None:
        """Find metrics that do not exist: a rule over them never fires, and a panel stays empty.

        Raises:
            KeyError: there is one.
        """
        for name in sorted(metric_names(expression)):
            self._metric(name)

    def _metric(self, series: str) -> Metric:
        if series not in self.by_series:
            raise KeyError(f"no server and no exporter of this plan has the metric {series}")
        return self.by_series[series]


def metrics_of(plan: Plan, monitoring: Monitoring) -> Metrics:
    """What the plan's rules and panels may ask for.

    Raises:
        KeyError: the plan counts on a metric that no pinned release has.
    """
    return Metrics(dict(_known(plan, monitoring)))


def _known(plan: Plan, monitoring: Monitoring) -> Iterator[tuple[str, Metric]]:
    plans = (plan, *plan.neighbours)
    catalogs = [engine.host.metrics for each in plans for engine in each.engines.values()]
    more = (series for each in plan.neighbours if each.monitoring for series in each.monitoring.metrics)
    for series in dict.fromkeys((*monitoring.metrics, *more)):
        found = next((each.by_series[series] for each in catalogs if series in each.by_series), None)
        # The first says that it has none.
        yield series, found or catalogs[0].metric(series)
    yield from PROMETHEUS.by_series.items()
    if monitoring.has_dcgm:
        yield from DCGM.by_series.items()


def rate(selector: str, window: str) -> str:
    """Growth of a counter for each second."""
    return f"rate({selector}[{window}])"


def summed(expression: str, *labels: str) -> str:
    """The sum over all labels but these."""
    return f"sum by ({', '.join(labels)}) ({expression})"


def quantile(share: float, buckets: str, window: str, *labels: str) -> str:
    """Of a histogram, summed over all labels but these."""
    return f"histogram_quantile({share}, {summed(rate(buckets, window), 'le', *labels)})"


def duration(seconds: int) -> str:
    """As Prometheus writes it."""
    return f"{seconds}s" if seconds % 60 else f"{seconds // 60}m"
