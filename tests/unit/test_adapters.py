"""Room for adapters: vLLM's own figures, what is asked of the engine, and which adapters are for which model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.adapters import why_not_fitting
from compiler.engines.vllm.memory.lora.adapters import AdapterSlots, index_bytes, slot_bytes
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.adapters import AdapterClass, adapter_class
from compiler.lock.file import read_lock
from compiler.lock.models import AdapterFacts, Lock, ModelFacts, TensorFacts, TensorKind, WeightFile
from compiler.pipeline import compile_stack, render_plan
from compiler.plan.ir import Plan
from compiler.solve.attempt import attempt, machine_of
from compiler.solve.budget import Solution
from compiler.solve.field import judge_field
from compiler.spec.models import Spec
from compiler.targets.gateway.litellm import litellm_config
from compiler.targets.gateway.routes import routing
from tests.conftest import ROOT
from tests.examples import examples

QWEN3_8B = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "hidden_act": "silu", "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "rms_norm_eps": 1e-6,
}  # fmt: skip
QWEN3_MOE = {
    **QWEN3_8B, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048,
    "intermediate_size": 6144, "num_hidden_layers": 48, "num_key_value_heads": 4, "num_experts": 128,
    "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": True, "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}  # fmt: skip
PHI3 = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192,
    "num_hidden_layers": 2, "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "vocab_size": 32064, "max_position_embeddings": 4096, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-5,
}  # fmt: skip


def room(config: dict[str, Any], slots: AdapterSlots, rank: Parallelism | None = None) -> int:
    architecture, found = known(config)
    return slot_bytes(architecture, rank or Parallelism(), slots, found, "bfloat16")


def known(config: dict[str, Any]) -> tuple[Architecture, AdapterClass]:
    architecture = read_architecture(config)
    found = adapter_class("0.33.0", architecture.name)
    assert found is not None
    return architecture, found


# What vLLM 0.33.0 allocates for these configs on torch's meta device, which poses as an H100.
@pytest.mark.parametrize(
    ("config", "slots", "rank", "expected"),
    [
        (QWEN3_8B, AdapterSlots(16, 1), Parallelism(), 97_280_000),
        (QWEN3_8B, AdapterSlots(64, 4), Parallelism(2), 1_123_585_024),
        (QWEN3_8B, AdapterSlots(16, 2, sharded=True), Parallelism(4), 64_834_560),
        (QWEN3_8B, AdapterSlots(32, 1, modules=("q_proj", "v_proj")), Parallelism(), 42_467_328),
        (QWEN3_MOE, AdapterSlots(16, 1), Parallelism(), 1_700_880_768),
        (QWEN3_MOE, AdapterSlots(64, 4), Parallelism(2, expert_parallel=True), 13_814_501_312),
        (QWEN3_MOE, AdapterSlots(32, 1, modules=("q_proj", "v_proj")), Parallelism(2), 26_738_688),
    ],
)
def test_slots_take_what_vllm_allocates(
    config: dict[str, Any], slots: AdapterSlots, rank: Parallelism, expected: int
) -> None:
    assert room(config, slots, rank) == expected


def test_one_matrix_that_holds_all_projections_has_one_pair() -> None:
    """Phi-3's checkpoints store query, key and value as one, and so do its adapters."""
    fused = 16 * (3072 + 3 * 3072) + 16 * (3072 + 2 * 8192)
    assert room(PHI3, AdapterSlots(16, 1, modules=("qkv_proj", "gate_up_proj"))) == 2 * 2 * fused


def test_a_name_of_one_projection_gives_room_to_all_that_the_engine_holds_with_it() -> None:
    slots = AdapterSlots(16, 1, modules=("q_proj",))
    assert room(QWEN3_8B, slots) == room(QWEN3_8B, replace(slots, modules=("qkv_proj",)))


def test_indices_are_those_of_the_kernels() -> None:
    assert index_bytes(AdapterSlots(16, 1), 2048, 128, on_gpu=True) == 101_432
    assert index_bytes(AdapterSlots(16, 4), 2048, 128, on_gpu=True) == 101_504


@given(
    rank=st.sampled_from((1, 8, 16, 64)),
    at_once=st.integers(1, 4),
    more=st.integers(0, 3),
    ranks=st.sampled_from((1, 2, 4)),
)
@examples(25)
def test_more_adapters_and_larger_ranks_never_take_less(rank: int, at_once: int, more: int, ranks: int) -> None:
    small, split = AdapterSlots(rank, at_once, modules=("q_proj",)), Parallelism(ranks)
    least = room(QWEN3_8B, small, split)
    assert 0 < least <= room(QWEN3_8B, replace(small, at_once=at_once + more), split)
    assert least <= room(QWEN3_8B, replace(small, rank=2 * rank), split)
    assert least <= room(QWEN3_8B, replace(small, modules=("q_proj", "down_proj")), split)
    assert room(QWEN3_8B, replace(small, modules=None), split) >= least


MODEL = "Qwen/Qwen2.5-7B-Instruct"
SIZES = {"self_attn.q_proj": (3584, 3584), "self_attn.v_proj": (3584, 512)}


def adapter(rank: int = 16, sizes: dict[str, tuple[int, int]] | None = None, **more: Any) -> ModelFacts:
    kinds = []
    for name, (inputs, outputs) in (sizes or SIZES).items():
        path = f"base_model.model.model.layers.*.{name}"
        kinds.append(TensorKind(name=f"{path}.lora_A.weight", dtype="BF16", shape=(rank, inputs), count=28))
        kinds.append(TensorKind(name=f"{path}.lora_B.weight", dtype="BF16", shape=(outputs, rank), count=28))
    return ModelFacts(
        source="https://huggingface.co",
        commit="a" * 40,
        kind="adapter",
        adapter=AdapterFacts(rank=rank, largest_rank=rank, alpha=32.0, base_model=MODEL),
        weights=(WeightFile(path="adapter_model.safetensors", size=1000, sha256="b" * 64),),
        config={},
        tensors=TensorFacts(digest="sha256:x", total_bytes=900, kinds=tuple(kinds)),
        **more,
    )


@pytest.fixture(scope="module")
def qwen() -> ModelFacts:
    lock, _ = read_lock(ROOT / "stacks/team-96gb.lock.yaml", "x")
    assert lock is not None
    return lock.models[MODEL]


def solved(facts: ModelFacts, adapters: dict[str, ModelFacts], **keys: Any) -> Solution:
    asked = [{"model": name, "name": name.rpartition("/")[2]} for name in adapters]
    service = {"model": MODEL, "quantization": "none", "context": "8K", "port": 8000, "adapters": asked, **keys}
    data = {
        "stack": "x",
        "engine": {"vllm": "0.33.0"},
        "nodes": {"gpu01": {"gpus": {"model": "rtx-pro-6000"}}},
        "services": {"chat": service},
    }
    locked = {
        "model": MODEL,
        "quantization": ("none",),
        "candidates": (MODEL,),
        "adapters": {name: name for name in adapters},
    }
    lock = Lock.model_validate({"schema": 1, "services": {"chat": locked}, "models": {MODEL: facts, **adapters}})
    found = attempt(Spec.model_validate(data), lock, pinned(RELEASES["0.33.0"]))
    assert isinstance(found, Solution)
    return found


def rows_of(solution: Solution) -> dict[str, int]:
    (server,) = solution.servers
    return {row.title: row.bytes.high for row in server.demand.heaviest.rows}


def test_a_rank_between_those_of_the_engine_pays_for_the_next(qwen: ModelFacts) -> None:
    slots = {rank: rows_of(solved(qwen, {"acme/sql": adapter(rank)}))["slots of adapters"] for rank in (40, 64, 65)}
    assert slots[40] == slots[64] < slots[65]


def test_adapters_never_make_a_server_smaller(qwen: ModelFacts) -> None:
    """Every row is there with adapters too, and none is less; what is left for the KV cache is."""
    alone = solved(qwen, {})
    beside = solved(qwen, {"acme/sql": adapter(), "acme/german": adapter(8)})
    with_adapters = rows_of(beside)
    assert all(with_adapters[title] >= size for title, size in rows_of(alone).items())
    assert with_adapters["CUDA graphs"] > rows_of(alone)["CUDA graphs"]
    assert beside.servers[0].units < alone.servers[0].units


def test_fewer_at_once_take_less(qwen: ModelFacts) -> None:
    adapters = {f"acme/a{index}": adapter() for index in range(6)}
    sizes = [rows_of(solved(qwen, adapters, adapters_at_once=count))["slots of adapters"] for count in (1, 2, 6)]
    assert sizes == sorted(set(sizes))
    # Four where nobody says how many.
    assert (
        rows_of(solved(qwen, adapters))["slots of adapters"]
        == rows_of(solved(qwen, adapters, adapters_at_once=4))["slots of adapters"]
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"name": "base_model.model.lm_head.lora_A.weight"}, "`lm_head`, and no layer of that name"),
        ({"name": "base_model.model.model.layers.*.self_attn.q_proj.lora_magnitude_vector"}, "no matrix of a LoRA"),
        ({"shape": (16, 3000)}, "3584 × 3584 in the model, and 3584 × 3000 in the adapter"),
        ({"count": 29}, "one of two matrices only"),
        ({"shape": (32, 3584)}, "rank 16/32 by its tensors, its adapter_config.json says 16 at most"),
        ({"shape": (16, 3584, 1)}, "no two matrices"),
    ],
)
def test_tensors_without_a_place_are_told(qwen: ModelFacts, changes: dict[str, Any], reason: str | None) -> None:
    facts, (architecture, found) = adapter(), known(qwen.config)
    assert facts.tensors is not None
    first, *rest = facts.tensors.kinds
    kinds = (first.model_copy(update=changes), *rest)
    changed = facts.model_copy(update={"tensors": facts.tensors.model_copy(update={"kinds": kinds})})
    told = why_not_fitting(changed, architecture, found)
    assert (told is None) if reason is None else (told is not None and reason in told)


def test_matrices_of_a_larger_rank_than_said_are_told(qwen: ModelFacts) -> None:
    """vLLM makes room by what adapter_config.json says, and ends as it copies more."""
    said = AdapterFacts(rank=8, largest_rank=8, alpha=8.0)
    told = why_not_fitting(adapter(600).model_copy(update={"adapter": said}), *known(qwen.config))
    assert "rank 600 by its tensors" in str(told)


def test_an_output_head_of_many_words_takes_no_adapter() -> None:
    """vLLM ends with "When using LoRA, vocab size must be <= 258048"."""
    large = {**QWEN3_8B, "vocab_size": 262144}
    head = [
        ("base_model.model.lm_head.lora_A.weight", (16, 4096)),
        ("base_model.model.lm_head.lora_B.weight", (262144, 16)),
    ]
    kinds = tuple(TensorKind(name=name, dtype="F32", shape=shape, count=1) for name, shape in head)
    facts = adapter().model_copy(update={"tensors": TensorFacts(digest="sha256:x", total_bytes=1, kinds=kinds)})
    told = why_not_fitting(facts, *known(large))
    assert told is not None
    assert "262144 − 258048 = 4096 more" in told
    assert why_not_fitting(facts, *known({**large, "vocab_size": 262144})) == told


MOE = {**QWEN3_MOE, "num_hidden_layers": 2}
EXPERTS = {"gate_proj": (2048, 768), "up_proj": (2048, 768), "down_proj": (768, 2048)}


def of_experts(names: tuple[str, ...] = tuple(EXPERTS), count: int = 2 * 128) -> ModelFacts:
    kinds = []
    for name in names:
        (inputs, outputs), path = EXPERTS[name], f"base_model.model.model.layers.*.mlp.experts.*.{name}"
        kinds.append(TensorKind(name=f"{path}.lora_A.weight", dtype="BF16", shape=(8, inputs), count=count))
        kinds.append(TensorKind(name=f"{path}.lora_B.weight", dtype="BF16", shape=(outputs, 8), count=count))
    tensors = TensorFacts(digest="sha256:x", total_bytes=1, kinds=tuple(kinds))
    return adapter().model_copy(update={"tensors": tensors})


def test_adapters_of_experts_change_all_of_them_or_none() -> None:
    """vLLM packs three projections of every expert, and asserts that they are there."""
    assert why_not_fitting(of_experts(), *known(MOE)) is None
    assert "of 256, and vLLM takes all experts" in str(why_not_fitting(of_experts(count=255), *known(MOE)))
    assert "vLLM takes all of 3 or none" in str(why_not_fitting(of_experts(("down_proj",)), *known(MOE)))
    whole = [
        kind.model_copy(update={"name": kind.name.replace(".*.gate_proj", "")}) for kind in of_experts().tensors_of()
    ]
    facts = adapter().model_copy(update={"tensors": TensorFacts(digest="x", total_bytes=1, kinds=tuple(whole[:2]))})
    assert "no layer of that name" in str(why_not_fitting(facts, *known(MOE)))


def refused(config: dict[str, Any], facts: ModelFacts, gpu: str | None = "h100-80gb", **block: Any) -> str | None:
    """Why adapters are not served beside a model that config.json describes."""
    model = ModelFacts(source="x", commit="a" * 40, chat_template="t", config=config, quantization=block or None)
    node = {"cpu": {"memory": "999GiB"}} if gpu is None else {"gpus": {"model": gpu}}
    release = RELEASES["0.32.0" if gpu is None else "0.33.0"]
    asked = {"model": "acme/m", "context": "4K", "port": 8000, "adapters": [{"model": "acme/sql", "name": "sql"}]}
    data = {"stack": "x", "engine": {"vllm": release.version}, "nodes": {"n": node}, "services": {"chat": asked}}
    locked = {
        "model": "acme/m",
        "quantization": ("auto",),
        "candidates": ("acme/m",),
        "adapters": {"acme/sql": "acme/sql"},
    }
    own = facts.model_copy(update={"adapter": AdapterFacts(rank=8, largest_rank=8, alpha=8.0)})
    lock = Lock.model_validate(
        {"schema": 1, "services": {"chat": locked}, "models": {"acme/m": model, "acme/sql": own}}
    )
    spec = Spec.model_validate(data)
    field = judge_field(spec, lock, pinned(release), machine_of(spec.nodes["n"]))
    (found,) = field.refusals["chat"] or (None,)
    return None if found is None else f"{found.problem.code} {found.problem.path[0]} {found.reason}"


def test_experts_beside_adapters_run_on_kernels_that_are_known() -> None:
    """On others they may take more, or end as their layers are wrapped."""
    query = {"self_attn.q_proj": (2048, 4096)}
    beside = adapter(8, query).model_copy(update={"tensors": layers_of(adapter(8, query), 2)})
    assert refused(MOE, beside) is None
    assert refused(MOE, of_experts()) is None
    assert "the CPU build has not" in str(refused(MOE, beside, gpu=None))
    assert "compute capability 10.x" in str(refused(MOE, beside, gpu="b200"))
    fp8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    assert refused(MOE, beside, **fp8) is None
    assert "proved for unquantized ones" in str(refused(MOE, of_experts(), **fp8))


def layers_of(facts: ModelFacts, count: int) -> TensorFacts:
    kinds = tuple(kind.model_copy(update={"count": count}) for kind in facts.tensors_of())
    return TensorFacts(digest="sha256:x", total_bytes=1, kinds=kinds)


def test_a_class_without_adapters_is_told() -> None:
    gpt2 = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 768, "n_layer": 2, "n_head": 12,
        "n_positions": 8192, "vocab_size": 50257, "torch_dtype": "bfloat16", "activation_function": "gelu_new",
    }  # fmt: skip
    assert adapter_class("0.33.0", "GPT2LMHeadModel") is None
    assert str(refused(gpt2, adapter())).startswith(
        "E0308 adapters vLLM 0.33.0 serves no adapters with GPT2LMHeadModel"
    )


@pytest.fixture(scope="module")
def shipped() -> Plan:
    compiled, _ = compile_stack(ROOT / "stacks/adapters-24gb.yaml", "adapters-24gb.yaml")
    assert compiled is not None
    return compiled.plan


def test_the_gateway_sends_an_adapter_s_name_to_its_server_as_it_is(shipped: Plan) -> None:
    assert shipped.gateway is not None
    names = {route.name: route.service for route in shipped.gateway.routes}
    assert names == {"chat": "chat", "sql": "chat", "support": "chat"}
    data = routing(shipped, shipped.gateway).data
    assert data["models"].keys() == names.keys()
    assert len(set(data["paths"]["/v1/chat/completions"].values())) == len(names)
    models = litellm_config(shipped, replace(shipped.gateway, kind="litellm")).models
    assert [(model.name, model.engine_model) for model in models if model.name != "chat"] == [
        ("sql", "hosted_vllm/sql"),
        ("support", "hosted_vllm/support"),
    ]


def test_an_adapter_at_another_commit_is_another_revision(shipped: Plan) -> None:
    (service,) = shipped.services
    moved = replace(service.adapters[0].model, commit="f" * 40)
    changed = replace(service, adapters=(replace(service.adapters[0], model=moved), *service.adapters[1:]))
    assert changed.revision != service.revision


def test_folders_of_adapters_are_there_for_containers_and_nobody_writes_them(shipped: Plan) -> None:
    (compose,) = (each.text for each in render_plan(shipped) if each.path.name == "compose.yaml")
    assert compose.count('source: "/srv/adapters/sql"') == 2  # of the server, and of the download that checks it


def test_a_server_is_never_told_of_endpoints_that_load_adapters(shipped: Plan) -> None:
    (service,) = shipped.services
    assert dict(service.environment)["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "0"
    flags = {argument.flag: argument.value for argument in service.arguments}
    assert flags["--lora-target-modules"] == ("k_proj", "o_proj", "q_proj", "v_proj")
    assert (flags["--max-loras"], flags["--max-cpu-loras"], flags["--max-lora-rank"]) == ("2", "2", "16")
