"""A Grafana dashboard as a document, and the JSON that Grafana 10.4 and later read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from compiler.targets.monitoring.promql import Metrics

Json = dict[str, Any]

# Of Grafana 10.4; later releases migrate it when they load it.
SCHEMA_VERSION = 39
WINDOW = "$__rate_interval"
"""Grafana puts in four scrape intervals, or more where a point of the graph covers more."""

_COLUMNS = 24
_DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


class Unit(StrEnum):
    """As Grafana names them."""

    COUNT = "short"
    SECONDS = "s"
    SHARE = "percentunit"
    PERCENT = "percent"
    MEBIBYTES = "mbytes"
    WATTS = "watt"
    CELSIUS = "celsius"


class Shape(StrEnum):
    """A graph over time, or the present value."""

    GRAPH = "timeseries"
    VALUE = "stat"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression; `legend` has Grafana's placeholders for labels."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        limit: where a line is drawn, and red begins.
        bad_below: red is below the limit instead.
        width: of 24 columns.
    """

    title: str
    unit: Unit
    queries: tuple[Query, ...]
    shape: Shape = Shape.GRAPH
    limit: float | None = None
    bad_below: bool = False
    width: int = 8
    description: str = ""

    @property
    def height(self) -> int:
        """In Grafana's rows."""
        return 8 if self.shape is Shape.GRAPH else 4


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The whole dashboard. It cannot be made with a panel over a metric that nobody exposes."""

    name: str
    title: str
    tags: tuple[str, ...]
    rows: tuple[Row, ...]
    refresh_seconds: int
    metrics: Metrics

    def __post_init__(self) -> None:
        for query in self.queries:
            self.metrics.check(query.expression)

    @property
    def queries(self) -> tuple[Query, ...]:
        """Of all panels."""
        return tuple(query for row in self.rows for panel in row.panels for query in panel.queries)


def dashboard_json(dashboard: Dashboard) -> Json:
    """What Grafana imports. The uid follows from the name, so that importing again replaces it."""
    digest = hashlib.sha256(dashboard.name.encode()).hexdigest()
    return {
        "uid": f"stackc-{digest[:20]}",
        "title": dashboard.title,
        "tags": list(dashboard.tags),
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": f"{dashboard.refresh_seconds}s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource_variable()]},
        "annotations": {"list": []},
        "links": [],
        "panels": list(_panels(dashboard.rows)),
    }


def _datasource_variable() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "refresh": 1,
        "regex": "",
        "options": [],
        "current": {},
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[Json]:
    number = top = 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
            "panels": [],
        }
        top += 1
        left = height = 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top, height = 0, top + height, 0
            number += 1
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel, number: int, position: Json) -> Json:
    custom = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "thresholdsStyle": {"mode": _line(panel)}}
    defaults: Json = {"unit": panel.unit.value, "min": 0, "thresholds": _thresholds(panel)}
    if panel.shape is Shape.GRAPH:
        defaults |= {"custom": custom, "color": {"mode": "palette-classic"}}
    return {
        "id": number,
        "type": panel.shape.value,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel.shape),
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _DATASOURCE, "expr": query.expression}
            | {"legendFormat": query.legend, "range": True, "instant": False}
            for index, query in enumerate(panel.queries)
        ],
    }


def _line(panel: Panel) -> str:
    return "off" if panel.limit is None else "line"


def _thresholds(panel: Panel) -> Json:
    good, bad = {"color": "green"}, {"color": "red"}
    if panel.limit is None:
        return {"mode": "absolute", "steps": [{**good, "value": None}]}
    first, second = (bad, good) if panel.bad_below else (good, bad)
    return {"mode": "absolute", "steps": [{**first, "value": None}, {**second, "value": panel.limit}]}


def _options(shape: Shape) -> Json:
    if shape is Shape.VALUE:
        reduce: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none", "textMode": "value_and_name"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
