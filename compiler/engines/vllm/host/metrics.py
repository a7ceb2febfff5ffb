"""The metrics of vLLM's servers by release: `VERSION/metrics.json`, read from vLLM's own registry.

`tools/extract_metrics.py` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from compiler.catalog.metrics import Metric, MetricCatalog, MetricKind, metric_catalog
from compiler.engines.vllm.releases.data import read_release_file

# Registered only where tokens are guessed (vllm/v1/spec_decode/metrics.py), which the server that is read does not do.
OF_DRAFTS = tuple(
    Metric(f"vllm:spec_decode_num_{what}_total", MetricKind.COUNTER, frozenset({"engine", "model_name"}))
    for what in ("drafts", "draft_tokens", "accepted_tokens")
)


@cache
def load_metrics(version: str) -> MetricCatalog:
    """The metrics of a vLLM release in the catalog.

    Raises:
        FileNotFoundError: the catalog does not have this version.
    """
    data = read_release_file(version, "metrics.json")
    return metric_catalog(f"vLLM {data['vllm']}", *map(_metric, data["metrics"]), *OF_DRAFTS)


def _metric(record: Mapping[str, Any]) -> Metric:
    return Metric(
        name=record["name"],
        kind=MetricKind(record["kind"]),
        labels=frozenset(record.get("labels", ())),
        values={label: tuple(values) for label, values in record.get("values", {}).items()},
        buckets=tuple(record.get("buckets", ())),
    )
