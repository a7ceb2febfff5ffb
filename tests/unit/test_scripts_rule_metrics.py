"""The smoke test's check that a server has every metric that an alert asks for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 0.0
process_start_time_seconds 1.7e+09
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7e+09
"""


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "templates/lib"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return importlib.import_module("stack.ask.probes")


def target(probes: ModuleType, *names: str) -> Any:
    reply = SimpleNamespace(status=200, body=METRICS.encode())
    server = SimpleNamespace(request=lambda *_: reply)
    of_another = "llamacpp:requests_processing"
    plan = {
        "engines": {"vllm": {"signals": dict(enumerate(names))}},
        "monitoring": {"metrics": [*names, of_another]},
    }
    return probes.Target(server, {"engine": "vllm"}, "m", "0.33.0", False, 1.0, plan)


def test_series_with_and_without_labels_are_found(probes: ModuleType) -> None:
    names = ("vllm:num_requests_running", "vllm:time_to_first_token_seconds_bucket", "process_start_time_seconds")
    assert probes.check_rule_metrics(target(probes, *names)).startswith("all 3 metrics")


@pytest.mark.parametrize(
    "name",
    [
        "vllm:num_requests",
        "vllm:time_to_first_token_seconds",
        "vllm:request_success_total",
        "vllm:gpu_cache_usage_perc",
    ],
)
def test_a_name_that_is_only_alike_is_missing(probes: ModuleType, name: str) -> None:
    with pytest.raises(Exception, match=name) as raised:
        probes.check_rule_metrics(target(probes, "process_start_time_seconds", name))
    assert raised.value.code == 1  # type: ignore[attr-defined]


def test_the_check_is_part_of_the_program(root: Path) -> None:
    assert "probes.check_rule_metrics" in (root / "templates/lib/stack/ask/smoke_test.py").read_text()
