"""What a spec may ask of the monitoring, and what it is told otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compiler.checks.monitoring import check_monitoring
from compiler.diagnostics import Diagnostic, SourceText
from compiler.engines.registry import ENGINES
from compiler.spec.reading.load import load_spec

BUCKETS = {"time_to_first_token": [1, 2, 3, 4]}


def found(monitoring: dict[str, Any], *, name: str = "chat", port: int = 8000, **keys: Any) -> list[Diagnostic]:
    top = {key: keys.pop(key) for key in ("engine", "gateway", "targets") if key in keys}
    service = {"model": "Qwen/Qwen2.5-7B-Instruct", "context": "16K", "port": port, **keys}
    spec = {
        "stack": "one",
        "engine": top.pop("engine", {"vllm": "0.33.0"}),
        "nodes": {"gpu01": {"gpus": {"model": "rtx-pro-6000"}}},
        "services": {name: service},
        "monitoring": monitoring,
        **top,
    }
    file, problems = load_spec(SourceText("one.yaml", json.dumps(spec)), ENGINES)
    assert file is not None, problems
    return list(check_monitoring(file, ENGINES))


def edits(diagnostics: list[Diagnostic]) -> list[Any]:
    return [edit.value for one in diagnostics for help_ in one.helps for edit in help_.edits]


@pytest.mark.parametrize("seconds", [0.001, 2.5, 5, 640])
def test_a_bound_of_the_histogram_is_an_objective(seconds: float) -> None:
    assert not found({"ttft_p95_seconds": seconds})


def test_the_bounds_on_both_sides_are_offered() -> None:
    assert edits(found({"ttft_p95_seconds": 3})) == [2.5, 5]
    assert edits(found({"ttft_p95_seconds": 0.0001})) == [0.001]
    assert edits(found({"ttft_p95_seconds": 3600})) == [640]


@pytest.mark.parametrize("key", ["custom_histogram_buckets", "custom-histogram-buckets", "--custom-histogram-buckets"])
@pytest.mark.parametrize("value", [BUCKETS, json.dumps(BUCKETS)])
def test_a_service_may_have_bounds_of_its_own(key: str, value: object) -> None:
    assert not found({"ttft_p95_seconds": 3}, engine_args={key: value})
    assert edits(found({"ttft_p95_seconds": 5}, engine_args={key: value})) == [3]


def test_beyond_the_last_bound_nothing_can_be_slow() -> None:
    (one,) = found({"ttft_p95_seconds": 4}, engine_args={"custom_histogram_buckets": BUCKETS})
    assert "cannot be exceeded" in one.notes[-1]
    assert edits([one]) == [3]


def test_bounds_that_leave_nothing_to_choose_need_words() -> None:
    (one,) = found({"ttft_p95_seconds": 4}, engine_args={"custom_histogram_buckets": {"time_to_first_token": [4]}})
    assert [help_.edits for help_ in one.helps] == [()]


@pytest.mark.parametrize("value", ["{", "[]", {"time_to_first_token": "often"}, {"request_latency": [1, 2]}])
def test_bounds_that_say_nothing_of_it_leave_those_of_vllm(value: object) -> None:
    assert not found({"ttft_p95_seconds": 5}, engine_args={"custom_histogram_buckets": value})


def test_a_gateways_port_is_no_free_one() -> None:
    assert edits(found({}, port=9090, gateway={"port": 9091})) == [9092]
    assert not found({"port": 9091}, gateway={"port": 9091}), "the gateway's own check says this"


def test_ports_and_names_of_containers_that_are_not_made_are_free() -> None:
    assert found({}, name="grafana")
    assert not found({"grafana": False}, name="grafana")
    assert not found({}, name="grafana", port=3000, targets=["systemd"])


def test_statistics_that_are_left_on_are_no_problem() -> None:
    assert not found({}, engine_args={"disable_log_stats": False})
    (one,) = found({}, engine_args={"disable_log_stats": True})
    assert one.helps[0].edits[0].path == ("services", "chat", "engine_args", "disable_log_stats")


LLAMA_CPP = {"engine": {"llama.cpp": "b10434"}}


@pytest.mark.parametrize("key", ["ttft_p95_seconds", "inter_token_p95_seconds"])
def test_an_objective_that_no_server_measures_is_refused(key: str) -> None:
    """llama-server has no histogram, so that no alert could say that it is missed."""
    (one,) = found({key: 2.5}, **LLAMA_CPP)
    assert f"no server of this stack measures `{key}`" in one.message
    assert one.helps[0].edits[0].path == ("monitoring", key)


def test_objectives_that_nobody_wrote_ask_for_nothing() -> None:
    assert not found({}, **LLAMA_CPP)
