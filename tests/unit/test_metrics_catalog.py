"""The metrics of each release. A name that a release has not is an alert that never fires."""

from __future__ import annotations

import pytest

from compiler.catalog.metrics import DCGM, MetricKind
from compiler.engines.interface.host import Signal
from compiler.engines.vllm.host.metrics import load_metrics
from compiler.engines.vllm.host.signals import SIGNALS
from compiler.engines.vllm.releases import RELEASES


@pytest.mark.parametrize("version", RELEASES)
def test_every_release_has_all_that_rules_ask_for(version: str) -> None:
    catalog = load_metrics(version)
    # Misses of a prefix cache are told by what was asked for and what was found.
    assert set(SIGNALS) == set(Signal) - {Signal.PREFIX_MISSES}
    for series in SIGNALS.values():
        assert series in catalog.metric(series).series


def test_names_are_those_that_are_scraped() -> None:
    catalog = load_metrics("0.33.0")
    assert catalog.metric("vllm:request_success_total").kind is MetricKind.COUNTER
    assert "error" in catalog.metric("vllm:request_success_total").values["finished_reason"]
    assert catalog.metric("vllm:iteration_tokens_total_count").kind is MetricKind.HISTOGRAM
    for name in ("vllm:request_success", "vllm:time_to_first_token_seconds", "vllm:gpu_cache_usage_perc"):
        with pytest.raises(KeyError, match=name):
            catalog.metric(name)


def test_bounds_of_latencies_are_known_and_those_that_follow_the_model_are_not() -> None:
    catalog = load_metrics("0.33.0")
    first = catalog.metrics["vllm:time_to_first_token_seconds"].buckets
    assert first[0] == 0.001
    assert first[-1] == 2560.0
    assert list(first) == sorted(first)
    assert catalog.metrics["vllm:request_prompt_tokens"].buckets == ()


def test_the_exporters_metrics_can_be_told_apart_by_gpu() -> None:
    assert all({"gpu", "UUID"} <= metric.labels for metric in DCGM.metrics.values())
