"""The benchmark of real start-ups: what it compares, and that nothing it cannot judge goes missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy import errors, replay, result, safety, summary
from benchmarks.cases import Case, card_of
from compiler.units import GIB
from tests.conftest import ROOT
from tests.unit.test_memory import LLAMA_8B

STARTED = {
    "id": "started", "model": "meta-llama/Llama-3.1-8B-Instruct", "vllm_version": "0.19.0", "engine": "V1",
    "gpu": "NVIDIA H100 80GB HBM3", "gpu_total_gib": 79.19, "tensor_parallel_size": 1, "pipeline_parallel_size": 1,
    "gpu_memory_utilization": 0.95, "max_model_len": 8192, "max_num_seqs": 1024, "max_num_batched_tokens": 8192,
    "dtype": "bfloat16", "kv_cache_dtype": "auto", "outcome": "ok", "weights_gib": 14.99, "activation_peak_gib": 1.89,
    "non_torch_increase_gib": 0.25, "kv_cache_gib": 58.11, "kv_tokens": 476016, "max_concurrency": 58.11,
    "concurrency_len": 8192,
}  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "meta-llama__Llama-3.1-8B-Instruct"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    return tmp_path


def case(**changes: Any) -> Case:
    return Case({key: value for key, value in (STARTED | changes).items() if value is not None})


def test_a_start_up_is_replayed_component_by_component(hub: Path) -> None:
    found = {error.component: error.size for error in errors(replay([case()], hub))}
    assert found["weights"] < 0.001
    assert found["activation"] < 0.01
    assert found["non_torch"] < 0.01
    assert found["kv_tokens"] < 0.001


@pytest.mark.parametrize(
    ("gpu", "total", "card"),
    [
        ("NVIDIA A100-SXM4-40GB", None, "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB (per repository files)", None, "a100-80gb"),
        ("NVIDIA A100 80GB", 79.25, "a100-80gb"),
        ("A100", 79.15, "a100-80gb"),
        ("L40", None, "l40"),
        ("NVIDIA L40S", 44.52, "l40s"),
        ("RTX 3090", None, "rtx-3090"),
        ("RTX 5090 32 GB", None, "rtx-5090"),
        ("RTX 4090 48GB", 47.37, "rtx-4090"),
        ("NVIDIA GB200 class (184.31 GiB, sm_100)", 184.31, "gb200"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8.0, None),
        ("RTX 3090 + RTX 3070", None, None),
        ("80 GB GPU (79.19 GiB)", 79.19, None),  # an A100 or an H100
        ("NVIDIA 16 GB card under WSL2 (15.92 GiB)", 15.92, None),
        (None, 31.4, "rtx-5090"),
        (None, None, None),
    ],
)
def test_a_log_s_card_is_found_by_its_name_and_by_its_total(
    gpu: str | None, total: float | None, card: str | None
) -> None:
    found = card_of(case(gpu=gpu, gpu_total_gib=total))
    assert (found.name if found is not None else None) == card


def test_capacity_goes_by_concurrency_where_the_printed_tokens_are_of_one_group() -> None:
    assert case(kv_tokens=1).measured_tokens() == 58.11 * 8192
    assert case(max_concurrency=None).measured_tokens() == 476016


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "nobody/nothing"}, "no config.json"),
        ({"quantization": "bitsandbytes"}, "quantized while loading"),
        ({"lora_speculative": "draft model"}, "speculative"),
        ({"tensor_parallel_size": 3}, "do not divide"),
        ({"kv_cache_dtype": "int4"}, "KV cache of int4"),
    ],
)
def test_what_cannot_be_judged_is_listed_with_its_reason(changes: dict[str, Any], reason: str, hub: Path) -> None:
    found = replay([case(), case(id="other", **changes)], hub)
    assert list(found.judged) == ["started"]
    assert reason in found.unjudged["other"]


def test_the_safety_table_counts_both_ways_of_being_wrong(hub: Path) -> None:
    failed = {"outcome": "error", "memory_failure": True}
    small = {"gpu_total_gib": 14.74, "gpu": "Tesla T4"}
    found = replay(
        [
            case(id="fits", gpu_memory_utilization=0.9),
            case(id="fits, failed", gpu_memory_utilization=0.9, **failed),
            case(id="unfit, failed", **small, **failed),
            case(id="unfit, started", **small),
        ],
        hub,
    )
    counts = safety(found)
    assert (counts["said_fits_failed"], counts["failed"]) == (1, 2)
    assert (counts["said_unfit_started"], counts["started"]) == (1, 2)


def test_embeddings_are_served_without_an_output_head(hub: Path) -> None:
    card = hub / "models" / "meta-llama__Llama-3.1-8B-Instruct" / "card.json"
    card.write_text(json.dumps({"pipeline_tag": "feature-extraction"}))
    said = replay([case()], hub).judged["started"][1]
    assert 14.99 * GIB - said.weights == pytest.approx(128256 * 4096 * 2, rel=0.01)


def test_an_unknown_utilization_proves_nothing(hub: Path) -> None:
    found = replay([case(gpu_memory_utilization=None, max_model_len=None)], hub)
    assert found.judged["started"][1].tokens is None
    assert safety(found)["said_unfit_started"] == 0


def test_the_object_has_what_readers_expect(hub: Path) -> None:
    found = result(replay([case(), case(id="other", model="nobody/nothing")], hub), hub)
    for component in ("weights", "activation", "non_torch", "kv_tokens"):
        row = found[component]
        assert isinstance(row, dict)
        assert set(row) == {"n", "mean", "median", "p95", "max"}
        assert row["n"] == 1
    assert found["unjudged"] == [{"id": "other", "reason": "no config.json of this model"}]
    assert summary([])["n"] == 0


def test_the_last_line_is_one_object(hub: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(STARTED) + "\n")
    command = [sys.executable, "-m", "benchmarks.accuracy", "--cases", str(cases), "--hub", str(hub), "--json"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert json.loads(output.splitlines()[-1])["safety"]["started"] == 1
