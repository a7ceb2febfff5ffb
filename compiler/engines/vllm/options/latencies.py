"""What vLLM's servers measure of their own pace, as their options have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from compiler.engines.interface.engine import LatencyHistogram
from compiler.engines.vllm.host.metrics import load_metrics
from compiler.spec.services import ServiceSpec

# By the key of `monitoring`: the histogram that measures it, and vLLM's name for the family of its bounds.
_HISTOGRAMS = {
    "ttft_p95_seconds": ("vllm:time_to_first_token_seconds", "time_to_first_token"),
    "inter_token_p95_seconds": ("vllm:inter_token_latency_seconds", "inter_token_latency"),
}


def latencies(service: ServiceSpec, release: str) -> Mapping[str, LatencyHistogram]:
    """Histograms of a server by the key of `monitoring`, with the server's own bounds where it has some."""
    by_series = load_metrics(release).by_series
    return {
        key: LatencyHistogram(series, _own_bounds(service, family) or by_series[f"{series}_bucket"].buckets)
        for key, (series, family) in _HISTOGRAMS.items()
    }


def silenced_by(service: ServiceSpec) -> str | None:
    """The key that turns statistics off, and metrics with them; None where they are on."""
    key = next((key for key in service.engine_args if _spelt(key) == "disable-log-stats"), None)
    return key if key is not None and service.engine_args[key] is True else None


def _own_bounds(service: ServiceSpec, family: str) -> tuple[float, ...]:
    """Bounds that the service's arguments give for a family; nothing where they give none, or none that vLLM takes."""
    given = _argument(service, "custom-histogram-buckets")
    try:
        families = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return ()
    bounds = families.get(family) if isinstance(families, Mapping) else None
    if not isinstance(bounds, list) or not all(isinstance(bound, int | float) for bound in bounds):
        return ()
    return tuple(map(float, bounds))


def _argument(service: ServiceSpec, name: str) -> Any:
    """The value of an engine argument, however it is spelt."""
    return next((value for key, value in service.engine_args.items() if _spelt(key) == name), None)


def _spelt(key: str) -> str:
    return key.removeprefix("--").replace("_", "-")
