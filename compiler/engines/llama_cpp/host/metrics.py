"""What `llama-server --metrics` exposes by build, and what rules and panels ask for of it.

The data is `releases/BUILD/metrics.json`, read from a running server by `tools/extract_llama_metrics.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from compiler.catalog.metrics import Metric, MetricCatalog, MetricKind, metric_catalog
from compiler.engines.interface.host import Signal

SIGNALS: Mapping[Signal, str] = {
    Signal.RUNNING: "llamacpp:requests_processing",
    Signal.WAITING: "llamacpp:requests_deferred",
    Signal.GENERATED: "llamacpp:tokens_predicted_total",
    Signal.PROMPTED: "llamacpp:prompt_tokens_total",
    Signal.ITERATIONS: "llamacpp:n_decode_total",
    Signal.PREFIX_HITS: "llamacpp:prompt_tokens_cached_total",
    # tools/server/server-context.cpp: cached tokens are not among them.
    Signal.PREFIX_MISSES: "llamacpp:prompt_tokens_total",
}
"""It has counters and gauges alone: no histogram, so no objective of latency, and no answers by status."""


@cache
def load_metrics(build: str) -> MetricCatalog:
    """The metrics of a build that is known.

    Raises:
        FileNotFoundError: the catalog does not have this build.
    """
    path = files("compiler.engines.llama_cpp.releases") / build / "metrics.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    found = (Metric(record["name"], MetricKind(record["kind"])) for record in data["metrics"])
    return metric_catalog(f"llama.cpp {build}", *found)
