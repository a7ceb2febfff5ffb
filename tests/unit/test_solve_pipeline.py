"""Pipeline stages, experts on whole GPUs, and slices of GPUs: what is started where, and with which bytes."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.catalog.hardware.gpus import GPUS
from compiler.checks.stack import check_spec
from compiler.diagnostics import SourceText
from compiler.engines.interface.problem import Problem
from compiler.engines.registry import ENGINES
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import RowKind
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.plan.ir import Plan, ServerLedger, Service
from compiler.plan.lowering.lower import lower_plan
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.source.document import load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile, load_spec
from tests.unit.test_memory import QWEN_32B

RELEASE = RELEASES["0.33.0"]


def question(card: dict[str, Any], config: dict[str, Any] = QWEN_32B, **service: Any) -> tuple[Spec, Lock]:
    asked = {"model": "own/m", "quantization": "none", "context": "4K", "port": 8000, **service}
    spec = Spec.model_validate(
        {"stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": {"n": {"gpus": card}}, "services": {"s": asked}}
    )
    locked = LockedService(model="own/m", quantization=("none",), candidates=("own/m",))
    facts = ModelFacts(source=HUB, chat_template="x", config=config)
    return spec, Lock(schema=1, services={"s": locked}, models={"own/m": facts})


def solved(card: dict[str, Any], config: dict[str, Any] = QWEN_32B, **service: Any) -> tuple[Solution, Plan]:
    spec, lock = question(card, config, **service)
    found = attempt(spec, lock, pinned(RELEASE))
    assert isinstance(found, Solution), found
    document, _ = load_document(SourceText("x.yaml", "stack: x"))
    assert document is not None
    return found, lower_plan(SpecFile(spec, document), found, pinned(RELEASE))


def problems(card: dict[str, Any], config: dict[str, Any] = QWEN_32B, **service: Any) -> tuple[Problem, ...]:
    found = attempt(*question(card, config, **service), pinned(RELEASE))
    assert not isinstance(found, Solution)
    return found


def weights(server: ServerLedger) -> int:
    return next(row.bytes.high for row in server.rows if row.kind is RowKind.WEIGHTS)


def division(service: Service) -> tuple[object, object]:
    return service.figures["tensor_parallel_size"], service.figures["pipeline_parallel_size"]


def test_every_rank_of_every_stage_has_its_own_ledger() -> None:
    """Bytes of TP 4 × PP 2 by vLLM 0.33.0's own count: the first stage has the embeddings, the last head and norm."""
    solution, plan = solved({"model": "l4", "count": 8}, tensor_parallel_size=4, pipeline_parallel_size=2)
    held = [weights(ledger.servers[0]) for ledger in solution.ledgers]
    assert held[:4] == [8_191_459_328] * 4
    assert held[4:] == [8_191_459_328 + 5120 * 2] * 4
    flags = {argument.flag: argument.value for argument in plan.services[0].arguments}
    assert (flags["--tensor-parallel-size"], flags["--pipeline-parallel-size"]) == ("4", "2")
    # 32 of 64 layers and 2 of 8 KV heads, keys and values of 128 numbers of 2 bytes.
    assert plan.services[0].kv_cache.bytes_per_block == 16 * 32 * 2 * 2 * 128 * 2
    assert int(flags["--kv-cache-memory-bytes"] or 0) == plan.services[0].kv_cache.bytes


def test_stages_of_unequal_length_get_equal_blocks_and_the_longest_decides() -> None:
    """80 layers in three stages: the middle one has 27 by vllm/distributed/utils.py, the last one 26."""
    config = QWEN_32B | {"num_hidden_layers": 80}
    solution, plan = solved(
        {"model": "a100-80gb", "count": 3}, config, tensor_parallel_size=1, pipeline_parallel_size=3
    )
    server = solution.servers[0]
    per_layer = 16 * 8 * 2 * 128 * 2
    sizes = [stage.layout.bytes_per_block // per_layer for stage in server.demand.ranks]
    assert sizes == [27, 27, 26]
    caches = [ledger.servers[0].rows[-1].bytes.high // per_layer for ledger in solution.ledgers]
    assert caches == [size * server.units for size in sizes]
    assert plan.services[0].kv_cache.bytes == server.units * 27 * per_layer


def test_a_model_that_cannot_be_split_is_staged() -> None:
    """41 heads divide by no number of GPUs; one card is too small, so the layers are divided."""
    config = QWEN_32B | {"num_attention_heads": 41, "num_key_value_heads": 41, "head_dim": 128, "hidden_size": 5248}
    _, plan = solved({"model": "a100-40gb", "count": 4}, config)
    service = plan.services[0]
    assert division(service) == (1, 3)
    assert service.devices == (0, 1, 2)


def test_splitting_comes_before_staging() -> None:
    _, plan = solved({"model": "a100-40gb", "count": 4})
    assert division(plan.services[0]) == (2, 1), "and no more GPUs are taken to seat more sequences"
    flags = {argument.flag for argument in plan.services[0].arguments}
    assert "--pipeline-parallel-size" not in flags


def test_pinned_gpus_are_split_if_they_can_be() -> None:
    card = {"model": "a100-40gb", "count": 8}
    _, three = solved(card, gpus=[1, 4, 6])
    assert division(three.services[0]) == (
        1,
        3,
    )
    _, four = solved(card, gpus=[1, 4, 5, 6])
    assert division(four.services[0]) == (
        4,
        1,
    )
    assert four.services[0].devices == (1, 4, 5, 6)


def test_expert_parallel_needs_experts() -> None:
    found = problems({"model": "h200", "count": 2}, expert_parallel=True)
    assert [problem.code for problem in found] == ["E0404"]
    assert "this model has none" in found[0].notes[0]
    assert [edit.path[-1] for edit in found[0].remedies[0].edits] == ["expert_parallel"]


def test_slices_have_their_own_memory_and_serve_alone() -> None:
    uuids = [f"MIG-00000000-0000-0000-0000-{index:012}" for index in range(2)]
    gpus = {"model": "h100-80gb", "mig": "3g.40gb", "count": 2, "uuids": uuids}
    profile = GPUS["h100-80gb"].profile("3g.40gb")
    assert profile is not None
    solution, plan = solved(gpus, QWEN_32B | {"num_hidden_layers": 16})
    assert {ledger.total for ledger in solution.ledgers} == {profile.memory}
    assert plan.services[0].devices == (0,)
    found = problems(gpus)
    assert [problem.code for problem in found] == ["E0401"]
    assert "over 2" not in str(found), "the two slices are never put together"
    pair = problems(gpus, tensor_parallel_size=2)
    assert [problem.code for problem in pair] == ["E0404"]
    assert "cannot reach each other" in pair[0].notes[0]


TEXT = """stack: x
engine: {{vllm: 0.33.0}}
nodes: {{n: {{gpus: {gpus}}}}}
services: {{s: {{model: a/b, context: 4K, port: 8000{service}}}}}
"""


def codes(gpus: str, service: str = "") -> list[tuple[str, str]]:
    file, found = load_spec(SourceText("x.yaml", TEXT.format(gpus=gpus, service=service)), ENGINES)
    assert file is not None, found
    return [(diagnostic.code, diagnostic.message) for diagnostic in check_spec(file, ENGINES)]


@pytest.mark.parametrize(
    ("gpus", "code", "words"),
    [
        ("{model: h100-80gb, mig: 3g.40gb}", "E0203", "named by their `uuids`"),
        ("{model: l4, mig: 1g.5gb, uuids: [MIG-00000000-0000-0000-0000-000000000000]}", "E0206", "is not known"),
        ("{model: h100-80gb, uuids: [MIG-00000000-0000-0000-0000-000000000000]}", "E0203", "without `mig`"),
        ("{model: mi300x}", "E0208", "needs the ROCm build"),
        ("{model: v100-32gb}", "E0208", "no kernels for compute capability 7.0"),
    ],
)
def test_gpus_that_cannot_be_used_as_written(gpus: str, code: str, words: str) -> None:
    found = [one for one in codes(gpus) if one[0] != "E0210"]
    assert [found_code for found_code, _ in found] == [code]
    assert words in found[0][1]


def test_parallel_sizes_must_agree_with_the_gpus() -> None:
    four = "{model: l4, count: 4}"
    assert codes(four, ", tensor_parallel_size: 2, pipeline_parallel_size: 2") == []
    assert codes(four, ", gpus: [0, 1, 2, 3], pipeline_parallel_size: 2") == []
    assert [code for code, _ in codes(four, ", tensor_parallel_size: 4, pipeline_parallel_size: 2")] == ["E0211"]
    assert [code for code, _ in codes(four, ", gpus: [0, 1, 2], pipeline_parallel_size: 2")] == ["E0211"]


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_every_figure_of_a_card_has_a_source(gpu: Any) -> None:
    assert gpu.memory_source
    assert gpu.bandwidth_source
    assert gpu.bandwidth > 0
    assert all(profile.memory_source and profile.memory <= gpu.memory * 1.001 for profile in gpu.mig)
    assert all(profile.memory * profile.most <= gpu.memory * 1.001 for profile in gpu.mig)


def test_a_model_that_generates_nothing_is_refused() -> None:
    """It keeps no KV cache, and a server of chats or completions could not answer from it."""
    bert = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 768, "intermediate_size": 3072,
        "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 30522, "max_position_embeddings": 512,
        "type_vocab_size": 2, "torch_dtype": "float32", "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    }  # fmt: skip
    found = problems({"model": "l4"}, bert, context="max")
    assert [problem.code for problem in found] == ["E0308"]
    assert "answers no chats and completions" in found[0].message
