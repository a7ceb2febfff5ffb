"""The order of candidates, the table that explains it, and what is tried when there are many."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from compiler.diagnostics import SourceText
from compiler.engines.interface.demand import Variant
from compiler.engines.interface.device import Device, Machine
from compiler.engines.vllm.pinned import PinnedVllm, pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.plan.lowering.lower import lower_plan
from compiler.solve.attempt import attempt, high, least_terms, machine_of
from compiler.solve.budget import Solution
from compiler.solve.field import MAX_COMBINATIONS, combinations, judge_candidates, judge_field
from compiler.solve.judgements import Judgement, Standing, judge_stack
from compiler.solve.place import Choice, Shortfall, place
from compiler.solve.ranking import Asked, rank
from compiler.solve.stack import attempt_stack
from compiler.source.document import load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile
from compiler.units import GIB
from tests.hub.builders import AWQ, COMMIT, FP8, GPTQ

RELEASE = RELEASES["0.33.0"]
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
INT8 = {
    "quant_method": "compressed-tensors", "format": "int-quantized",
    "config_groups": {"g": {"weights": {"type": "int", "num_bits": 8}, "input_activations": {"num_bits": 8}}},
}  # fmt: skip
WNA16 = {
    "quant_method": "compressed-tensors", "format": "pack-quantized",
    "config_groups": {"g": {"weights": {"type": "int", "num_bits": 4, "group_size": 128}}},
}  # fmt: skip
Blocks = Mapping[str, Mapping[str, Any] | None]

ALL: Blocks = {
    "own/m": None, "own/m-FP8": FP8, "own/m-INT8": INT8, "own/m-W4": WNA16, "own/m-AWQ": AWQ, "own/m-GPTQ": GPTQ,
    "first/m-AWQ": AWQ, "second/m-AWQ": AWQ, "own/m-AWQ@other": AWQ,
}  # fmt: skip


def facts(name: str, block: Mapping[str, Any] | None, **changes: Any) -> ModelFacts:
    branch = name.partition("@")[2] or None
    given = {"source": HUB, "commit": COMMIT, "branch": branch, "license": "mit", "chat_template": "x"}
    given |= {"config": LLAMA_8B} | changes
    return ModelFacts(quantization=block and dict(block), **given)


def stack(blocks: Blocks, gpus: dict[str, Any] | None = None, services: int = 1, **service: Any) -> tuple[Spec, Lock]:
    locked = {"unread": service.pop("unread", ()), "publishers": ("first", "second")}
    changes = service.pop("facts", {})
    asked = {f"s{n}": {"model": "own/m", "context": "8K", "port": 8000 + n, **service} for n in range(services)}
    spec = Spec.model_validate(
        {
            "stack": "x", "engine": {"vllm": "0.33.0"}, "services": asked,
            "nodes": {"n": {"gpus": gpus or {"model": "h100-80gb"}}},
            "policy": {"publishers": ["second", "first"], "licenses": ["mit"]},
        }
    )  # fmt: skip
    answers = {
        name: LockedService(model="own/m", quantization=asked.quantization, candidates=tuple(sorted(blocks)), **locked)
        for name, asked in spec.services.items()
    }
    models = {name: facts(name, block, **changes.get(name, {})) for name, block in blocks.items()}
    return spec, Lock(schema=1, services=answers, models=models)


def rows(*given: Any, **named: Any) -> dict[str, Judgement]:
    spec, lock = stack(*given, **named)
    found = attempt_stack(spec, lock, pinned(RELEASE))
    rows = judge_stack(spec, lock, pinned(RELEASE), found if isinstance(found, dict) else {})
    return {row.candidate: row for row in rows["s0"]}


def judged(spec: Spec, lock: Lock) -> tuple[Variant, ...]:
    judge = PinnedVllm(RELEASE).judging(spec.policy, Machine((Device("GPU", 80 * GIB, "here", 0, (9, 0)),)))
    return judge_candidates("s0", spec.services["s0"], lock, judge)[0]


def ranked(spec: Spec, lock: Lock) -> list[str]:
    return [variant.name for variant in rank(judged(spec, lock), Asked(spec.services["s0"], spec.policy))]


def test_quality_then_publisher_then_name() -> None:
    assert ranked(*stack(ALL)) == [
        "own/m", "own/m-FP8", "own/m-INT8", "own/m-W4", "own/m-AWQ", "own/m-AWQ@other", "second/m-AWQ", "first/m-AWQ",
        "own/m-GPTQ",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "first"),
    [("auto", "own/m"), (["gptq", "fp8"], "own/m-GPTQ"), (["awq", "auto"], "own/m-AWQ"), (["auto", "awq"], "own/m")],
)
def test_the_spec_s_order_comes_first(asked: Any, first: str) -> None:
    assert ranked(*stack(ALL, quantization=asked))[0] == first


def test_every_row_of_the_table_has_a_reason() -> None:
    found = rows(ALL, unread=("stranger/m-AWQ",))
    assert found["own/m"].standing is Standing.CHOSEN
    assert found["own/m"].reason == "the best of those that may be served"
    assert found["own/m-FP8"].reason == "8 bits, the chosen one has 16"
    assert found["stranger/m-AWQ"].standing is Standing.UNREAD
    assert found["stranger/m-AWQ"].reason == "publisher stranger is not in policy.publishers"
    assert found.keys() == {*ALL, "stranger/m-AWQ"}
    asked = rows(ALL, quantization=["awq", "gptq"])
    assert asked["second/m-AWQ"].reason == "own comes before second"
    assert asked["own/m-AWQ@other"].reason == "as good as own/m-AWQ, whose name sorts first"
    assert asked["own/m-GPTQ"].reason == "the spec asks for awq before gptq"


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"license": "other"}, "E0305", "its licence is other, allowed are mit"),
        ({"license": None}, "E0305", "its licence is not known"),
        ({"gated": "manual"}, "E0305", "is gated (manual)"),
        ({"remote_code": True}, "E0305", "it needs code from its repository"),
        ({"kind": "adapter"}, "E0309", "it is an adapter"),
        ({"kind": "gguf"}, "E0308", "only with the plugin vllm-gguf-plugin"),
        ({"branch": "b", "commit": None}, "E0309", "its branch b is not pinned to a commit"),
        ({"chat_template": None}, "E0306", "it has no chat template"),
    ],
)
def test_a_refusal_has_its_code_and_reason(changes: dict[str, Any], code: str, reason: str) -> None:
    row = rows({"own/m": None, "own/m-AWQ": AWQ}, facts={"own/m-AWQ": changes})["own/m-AWQ"]
    assert (row.standing, row.code) == (Standing.REFUSED, code)
    assert reason in row.reason


def test_context_and_split_refuse_too() -> None:
    assert rows({"own/m": None}, context="256K")["own/m"].code == "E0403"
    gpus = {"model": "h100-80gb", "count": 3}
    row = rows({"own/m": None}, gpus, tensor_parallel_size=3)["own/m"]
    assert row.code == "E0404"
    assert "32 attention heads do not divide by 3" in row.reason


def test_a_split_that_leaves_experts_without_a_kernel_is_refused() -> None:
    """Qwen3-30B-A3B-FP8 starts on two A100s, not on four (vllm/.../fused_moe/oracle/fp8.py)."""
    qwen = LLAMA_8B | {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 8, "head_dim": 128,
        "num_experts_per_tok": 2, "decoder_sparse_step": 1, "moe_intermediate_size": 768, "mlp_only_layers": [],
    }  # fmt: skip
    block = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    answers = {}
    for model in ("a100-80gb", "h100-80gb"):
        for ranks in (2, 4):
            gpus = {"model": model, "count": ranks}
            given = {"tensor_parallel_size": ranks, "facts": {"own/m": {"config": qwen}}}
            row = rows({"own/m": block}, gpus, **given)["own/m"]
            answers[model, ranks] = (row.code, "FP8 blocks of 64 by 64" in row.reason)
    assert answers.pop(("a100-80gb", 4)) == ("E0404", True)
    assert set(answers.values()) == {(None, False)}


def test_a_neighbour_may_be_what_does_not_fit() -> None:
    found = rows({"own/m": None, "own/m-AWQ": AWQ}, {"memory": "25GiB", "compute_capability": "8.9"}, services=2)
    assert found["own/m"].short_bytes is not None
    assert found["own/m"].short_bytes > 0


def test_unread_names_are_in_the_error_where_nothing_is_left() -> None:
    unread = tuple(f"stranger/m{n}" for n in range(7))
    spec, lock = stack({"own/m-AWQ": AWQ}, unread=unread, facts={"own/m-AWQ": {"gated": "auto"}})
    (problem,) = attempt(spec, lock, pinned(RELEASE))  # type: ignore[misc]
    assert "`stranger/m4` and 2 more" in problem.notes[-1]


def test_a_base_model_s_error_names_what_was_made_from_it() -> None:
    spec, lock = stack({"own/m": None}, facts={"own/m": {"chat_template": None}})
    instruct = facts("own/m-Instruct", None, base_models=("own/m",))
    lock = lock.model_copy(update={"models": lock.models | {"own/m-Instruct": instruct}})
    (problem,) = attempt(spec, lock, pinned(RELEASE))  # type: ignore[misc]
    assert problem.notes[-1] == "`own/m-Instruct` was made from it and has a chat template"


def variants(counts: Mapping[str, int]) -> dict[str, tuple[Variant, ...]]:
    spec, lock = stack({f"own/m-{n}": AWQ for n in range(9)})
    found = judged(spec, lock)
    return {name: found[:count] for name, count in counts.items()}


def test_combinations_lose_least_first_and_end_with_the_smallest_of_all() -> None:
    few = [tuple(v.name[-1] for v in c.values()) for c in combinations(variants({"a": 2, "b": 2}))]
    assert few == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    many = list(combinations(variants(dict.fromkeys("abcdefgh", 9))))
    assert len(many) <= MAX_COMBINATIONS + 9
    assert all(variant.name == "own/m-8" for variant in many[-1].values())


def test_of_six_services_none_is_lowered_further_than_memory_forces() -> None:
    spec, lock = stack(ALL, {"memory": "60GiB", "compute_capability": "8.9"}, services=6)
    found = attempt(spec, lock, pinned(RELEASE))
    assert isinstance(found, Solution)
    bits = sorted(each.demand.variant.bits for each in found.servers)
    assert bits[0] == 4, "most must be small"
    variants = judge_field(spec, lock, pinned(RELEASE), machine_of(spec.nodes["n"])).variants
    chosen = {each.demand.service: each.demand.variant for each in found.servers}
    least = Choice(least_terms(spec.services, pinned(RELEASE)), chosen, machine_of(spec.nodes["n"]), high)
    for name, variant in chosen.items():
        better = variants[name][: [one.name for one in variants[name]].index(variant.name)]
        for one in better:
            assert isinstance(place(least.exchanged({**chosen, name: one})), Shortfall)


def test_four_services_with_nine_candidates_each_are_solved_at_once() -> None:
    spec, lock = stack(ALL, services=4)
    start = time.process_time()
    assert isinstance(attempt(spec, lock, pinned(RELEASE)), Solution)
    assert time.process_time() - start < 1, "seconds of this process, so that a busy machine does not fail it"


def test_a_branch_is_served_from_its_repository_at_its_commit() -> None:
    spec, lock = stack({"own/m-GPTQ@actorder": GPTQ})
    solution = attempt(spec, lock, pinned(RELEASE))
    assert isinstance(solution, Solution)
    document, _ = load_document(SourceText("x.yaml", "stack: x"))
    assert document is not None
    model = lower_plan(SpecFile(spec, document), solution, pinned(RELEASE)).services[0].model
    assert (model.repository, model.commit, model.is_pinned) == ("own/m-GPTQ", COMMIT, True)


def test_nothing_is_given_up_because_the_smallest_variant_cannot_be_split() -> None:
    """AWQ in groups of 4096 cannot be split, only staged; over eight, 16 bits take less of each than AWQ of one."""
    large = {"config": LLAMA_8B | {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}}
    blocks: Blocks = {"own/m": None, "own/m-AWQ": AWQ | {"group_size": 4096}}
    gpus = {"memory": "30GiB", "compute_capability": "8.9", "count": 8}
    found = attempt(*stack(blocks, gpus, context="2K", facts=dict.fromkeys(blocks, large)), pinned(RELEASE))
    assert isinstance(found, Solution)
    assert found.servers[0].demand.variant.name == "own/m"
    assert len(found.servers[0].devices) == 8
    asked = {"context": "2K", "quantization": ["awq", "none"], "facts": dict.fromkeys(blocks, large)}
    assert rows(blocks, gpus, pipeline_parallel_size=1, **asked)["own/m-AWQ"].short_bytes is not None
    assert rows(blocks, gpus, **asked)["own/m-AWQ"].standing is Standing.CHOSEN
