"""The benchmark of real start-ups: what it compares, and that nothing it cannot judge goes missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy import errors, recent_tokens, replay, result, safety, summary
from benchmarks.cases import Case, card_of
from benchmarks.figures import insides, interval_width
from benchmarks.releases import charging_overheads, rules_of
from benchmarks.startups import Prediction
from compiler.engines.vllm.releases.v0_33_0 import GPU as GPU_0_33
from compiler.units import GIB
from tests.conftest import ROOT
from tests.unit.test_hybrid import QWEN3_NEXT
from tests.unit.test_memory import LLAMA_8B
from tests.unit.test_memory_vision import QWEN3_VL_2B, QWEN3_VL_8B

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


def test_a_length_that_the_log_does_not_show_refuses_nothing(hub: Path) -> None:
    """By its config.json alone one request would need 128K tokens, and the server was surely told of fewer."""
    small = {"gpu": "a card", "gpu_total_gib": 24.0, "max_num_seqs": 8, "max_num_batched_tokens": 2048}
    assert replay([case(**small, max_model_len=131072)], hub).judged["started"][1].fits == "unfit"
    assert replay([case(**small, max_model_len=None)], hub).judged["started"][1].fits is None
    tiny = small | {"gpu_total_gib": 12.0}
    assert replay([case(**tiny, max_model_len=None)], hub).judged["started"][1].fits == "unfit"


@pytest.mark.parametrize("note", ["DP+EP over nodes", "run with DP 8"])
def test_ranks_that_are_not_counted_are_not_judged(hub: Path, note: str) -> None:
    assert "does not count" in replay([case(note=note)], hub).unjudged["started"]
    assert not replay([case(note=note, data_parallel_size=2)], hub).unjudged


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


# A hybrid, as large on a card as a start-up that vLLM refused: 635 blocks for 1024 sequences.
HYBRID = {
    "model": "Qwen/hybrid", "gpu": "NVIDIA H200", "gpu_total_gib": 139.8, "max_model_len": 8192, "max_num_seqs": 8,
    "max_concurrency": None, "kv_tokens": None, "kv_cache_gib": None, "weights_gib": None,
}  # fmt: skip


@pytest.fixture
def hybrids(hub: Path) -> Path:
    folder = hub / "models" / "Qwen__hybrid"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_NEXT | {"num_experts": 16}))
    return hub


def said_of(hub: Path, **changes: Any) -> Prediction:
    found = replay([case(**changes)], hub)
    assert not found.unjudged
    return found.judged["started"][1]


def tokens_of(hub: Path, **changes: Any) -> float:
    tokens = said_of(hub, **changes).tokens
    assert tokens is not None
    return tokens


def test_states_of_a_request_are_those_of_the_case_s_release(hybrids: Path) -> None:
    """One without prefix caching, which came to be the default, and one more for each of two later changes."""
    one, two, three = (tokens_of(hybrids, **HYBRID, vllm_version=each) for each in ("0.27.1", "0.30.0", "0.33.0"))
    assert one > two > three
    asked = HYBRID | {"enable_prefix_caching": True}
    assert tokens_of(hybrids, **asked, vllm_version="0.27.1") == pytest.approx(two, rel=0.1)
    asked["enable_prefix_caching"] = False
    assert tokens_of(hybrids, **asked, vllm_version="0.30.0") == pytest.approx(one, rel=0.1)


def test_whether_prefixes_are_cached_is_read_off_the_blocks_of_a_request(hybrids: Path) -> None:
    """A log prints bytes of the cache and how many requests fit in it, and not the option that decides both."""
    whole = {"vllm_version": "0.27.1", "kv_cache_gib": 60.0, "concurrency_len": 8192}
    plain, cached = (HYBRID | {"enable_prefix_caching": each} for each in (False, True))
    for option in (plain, cached):
        fitting = tokens_of(hybrids, **option, vllm_version="0.27.1") / 8192
        inside = said_of(hybrids, **option, vllm_version="0.27.1").inside
        assert inside is not None
        cache = (139.8 * 0.95 * GIB - inside.expected) / GIB
        printed = HYBRID | whole | {"max_concurrency": fitting, "kv_cache_gib": cache}
        assert tokens_of(hybrids, **printed) == tokens_of(hybrids, **option, vllm_version="0.27.1")


def test_a_hybrid_with_more_sequences_than_blocks_is_refused_by_the_engine_s_own_rule(hybrids: Path) -> None:
    many = HYBRID | {"gpu_memory_utilization": 0.15, "vllm_version": "0.29.0"}
    assert said_of(hybrids, **many).fits == "fits"
    assert said_of(hybrids, **(many | {"max_num_seqs": 1024})).fits == "unfit"
    assert said_of(hybrids, **(many | {"max_num_seqs": 1024, "enforce_eager": True})).fits == "fits"


def test_a_window_holds_the_batches_that_its_release_keeps_in_flight(hub: Path) -> None:
    folder = hub / "models" / "a__windowed"
    folder.mkdir()
    windowed = LLAMA_8B | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 1024}
    (folder / "config.json").write_text(json.dumps(windowed | {"rope_scaling": None}))
    long = {"model": "a/windowed", "max_model_len": 65536}
    before, since = (tokens_of(hub, **long, vllm_version=each) for each in ("0.23.0", "0.30.0"))
    assert before > 1.5 * since


def test_what_a_release_assumes_and_charges() -> None:
    assert (rules_of((0, 20)).utilization, rules_of((0, 21)).utilization) == (0.9, 0.92)
    assert [rules_of((0, each)).keeps_segments for each in (25, 27, 31, 32)] == [False, True, True, False]
    charged, old = charging_overheads((0, 31), dense=True), charging_overheads((0, 19), dense=True)
    assert charged is not None
    assert old is not None
    # vLLM takes more from a cache that it sizes than it then captures.
    assert charged.graphs.each.expected > 2 * GPU_0_33.graphs.each.expected
    assert not old.rules.graphs_in_budget
    runners = [charging_overheads((0, 27), dense=each) for each in (False, True)]
    assert [each is not None and each.rules.sampler_state for each in runners] == [False, True]
    assert [each is not None and each.rules.graphs_in_budget for each in runners] == [True, False]


def test_the_sampler_s_pass_with_parameters_came_with_the_pinned_release(hub: Path) -> None:
    """0.258 GiB for 256 sequences of a vocabulary of 151936 tokens."""
    eager = {"max_num_seqs": 256, "max_num_batched_tokens": 2048, "enforce_eager": True, "gpu": "NVIDIA L4"}
    with_them, without = (said_of(hub, **eager, vllm_version=each).activation for each in ("0.33.0", "0.32.0"))
    assert with_them is not None
    assert without is not None
    assert with_them.expected - without.expected == pytest.approx(256 * 128256 * 7.1 + 58 * 128256 * 4, rel=0.02)


def test_compiling_counts_where_the_log_is_not_of_a_warm_start(hub: Path) -> None:
    few = {"max_num_seqs": 8, "vllm_version": "0.30.0"}
    cold, warm = (said_of(hub, **few, note=note).activation for note in (None, "warm compile cache"))
    assert cold is not None
    assert warm is not None
    assert cold.expected == pytest.approx(128256 * 4096 * 2, rel=0.05)
    assert warm.expected < cold.expected
    eager = said_of(hub, **few, enforce_eager=True).activation
    assert eager is not None
    assert eager.expected == warm.expected


@pytest.mark.parametrize(
    "option",
    [
        {"language_model_only": True},
        {"limit_mm_per_prompt": {"image": 0, "video": 0}},
        {"note": "weights are those of the language model only (the tower of 0.86 GiB is not loaded)"},
        {"limit_mm_per_prompt": {"image": 1, "video": 0}, "other": "this one has its tower"},
    ],
)
def test_towers_that_an_option_leaves_out_are_not_counted(option: dict[str, Any], hub: Path) -> None:
    folder = hub / "models" / "Qwen__seeing"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_VL_2B))
    whole, found = (said_of(hub, model="Qwen/seeing", **each).weights for each in ({}, option))
    assert (found < whole) is ("other" not in option)


@pytest.mark.parametrize("model", ["META-LLAMA/llama-3.1-8b-instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct"])
@pytest.mark.parametrize("below", ["", "models"])
def test_a_model_is_found_as_the_hub_finds_it(model: str, below: str, hub: Path) -> None:
    assert said_of(hub / below, model=model).fits == "fits"


def test_cards_of_one_size_with_other_batch_limits_leave_capacity_open(hub: Path) -> None:
    """79.2 GiB may be an A100 or an H100, of which vLLM batches four times as much."""
    unnamed = {"gpu": None, "gpu_total_gib": 79.19, "max_num_seqs": None, "max_num_batched_tokens": None}
    said = said_of(hub, **unnamed)
    assert (said.tokens, said.activation, said.fits) == (None, None, None)
    assert "batch limits" in said.unknown
    assert said_of(hub, **(unnamed | {"gpu": "NVIDIA H100 80GB HBM3"})).tokens is not None
    # The first engine's batches did not depend on the card.
    assert said_of(hub, **(unnamed | {"engine": "V0", "vllm_version": "0.6.3"})).tokens is not None


def test_memory_above_the_high_end_is_counted_since_graphs_are_charged_and_on_discrete_cards(hub: Path) -> None:
    recent = {"vllm_version": "0.30.0"}
    found = replay(
        [
            case(**recent),
            case(**recent, id="above", kv_cache_gib=30.0),
            case(**recent, id="unified", gpu="NVIDIA GB10 (unified memory)", gpu_total_gib=121.69, kv_cache_gib=30.0),
            case(id="older", kv_cache_gib=30.0),
        ],
        hub,
    )
    assert {inside.case.name: inside.above for inside in insides(found.judged)} == {"started": False, "above": True}
    assert {error.case.name for error in recent_tokens(errors(found))} == {"started", "above"}


def test_the_width_of_the_intervals_is_measured_on_one_model_and_card(hub: Path, tmp_path: Path) -> None:
    width = interval_width(hub)
    assert width is not None
    assert 0.3 * GIB < width < GIB
    (tmp_path / "empty").mkdir()
    assert interval_width(tmp_path / "empty") is None


def test_several_files_are_read_as_one(hub: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(json.dumps(STARTED | {"id": name}) + "\n")
    command = [sys.executable, "-m", "benchmarks.accuracy", "--hub", str(hub), "--json"]
    command += ["--cases", str(tmp_path / "a"), "--cases", str(tmp_path / "b")]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.startswith("2 start-ups judged, 0 not")
    assert json.loads(output.splitlines()[-1])["weights"]["n"] == 2


def test_a_tower_that_a_note_says_was_not_loaded_is_left_out(hub: Path) -> None:
    folder = hub / "models" / "acme__sees"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_VL_8B))
    note = "weights are those of the language model only (the tower of 0.86 GiB is not loaded)"
    found = replay([case(model="acme/sees"), case(id="text", model="acme/sees", note=note)], hub).judged
    assert found["started"][1].weights - found["text"][1].weights > GIB
