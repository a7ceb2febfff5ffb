"""What a metric is, and those of NVIDIA's exporter and of Prometheus: what a rule or a panel may ask for.

Those of a server are its engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class MetricKind(StrEnum):
    """As Prometheus has them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


# What is scraped of a metric, beside or instead of its own name.
_SUFFIXES: Mapping[MetricKind, tuple[str, ...]] = {
    MetricKind.COUNTER: ("",),
    MetricKind.GAUGE: ("",),
    MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count"),
    MetricKind.SUMMARY: ("_sum", "_count"),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        labels: of its series, other than those that the scrape adds; a histogram's `le` is not among them.
        values: of a label, where the server has a series for each from its start.
        buckets: upper bounds of a histogram, ascending, without infinity; empty where they follow the model.
    """

    name: str
    kind: MetricKind
    labels: frozenset[str] = frozenset()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """Names under which it is scraped."""
        return tuple(self.name + suffix for suffix in _SUFFIXES[self.kind])


@dataclass(frozen=True, slots=True)
class MetricCatalog:
    """The metrics of one program."""

    title: str
    metrics: Mapping[str, Metric]
    by_series: Mapping[str, Metric]

    def metric(self, series: str) -> Metric:
        """The metric that is scraped under this name.

        Raises:
            KeyError: the program has none.
        """
        found = self.by_series.get(series)
        if found is None:
            raise KeyError(f"{self.title} has no metric {series}")
        return found


def metric_catalog(title: str, *metrics: Metric) -> MetricCatalog:
    """The metrics of a program, findable by their names and by what is scraped of them."""
    by_series = {series: metric for metric in metrics for series in metric.series}
    return MetricCatalog(title, {metric.name: metric for metric in metrics}, by_series)


def _dcgm(name: str) -> Metric:
    return Metric(name, MetricKind.GAUGE, frozenset({"gpu", "UUID", "device", "modelName"}))


DCGM = metric_catalog(
    "the DCGM exporter",
    *map(
        _dcgm,
        (
            "DCGM_FI_DEV_FB_USED",
            "DCGM_FI_DEV_GPU_TEMP",
            "DCGM_FI_DEV_GPU_UTIL",
            "DCGM_FI_DEV_POWER_USAGE",
            "DCGM_FI_DEV_XID_ERRORS",
        ),
    ),
)
"""Of the default set of NVIDIA's exporter until 4.8 (etc/default-counters.csv there): memory is MiB, power is watts.

From 4.9.0 on it has other names and units by default (its release notes).
"""

PROMETHEUS = metric_catalog("Prometheus", Metric("up", MetricKind.GAUGE))
"""What Prometheus itself writes for every target."""
