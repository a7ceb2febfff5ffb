"""Headers against config.json: exact where they agree, a wider interval where they do not, never a narrower one."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.tensors import drafting_tensors, expected_tensors
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.weights import weights_row
from compiler.ledger import Basis, LedgerRow
from compiler.lock.models import TensorKind
from tests.unit.test_hybrid import GRANITE_SMALL, NEMOTRON_NANO, QWEN3_NEXT
from tests.unit.test_memory import AWQ, FP8, GPTQ, LLAMA_8B, QWEN3_8B, QWEN_32B
from tests.unit.test_memory_latent import MINICPM3, V2_LITE
from tests.unit.test_memory_moe import GPT_OSS
from tests.unit.test_memory_vision import GEMMA_3_27B, QWEN3_VL_2B, QWEN3_VL_8B

# The numbers of a public mixture with a layer that predicts several tokens at once.
GLM_AIR = {
    "architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", "hidden_size": 4096, "intermediate_size": 10944,
    "moe_intermediate_size": 1408, "num_hidden_layers": 46, "num_attention_heads": 96, "num_key_value_heads": 8,
    "head_dim": 128, "n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "first_k_dense_replace": 1, "num_nextn_predict_layers": 1, "attention_bias": True, "use_qk_norm": False,
    "vocab_size": 151552, "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"]}
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "llama": (LLAMA_8B, None),
    "qwen3 fp8 blocks": (QWEN3_8B, FP8),
    "qwen2 awq": (QWEN_32B, AWQ),
    "qwen2 gptq": (QWEN_32B, GPTQ),
    "llama nvfp4": (LLAMA_8B, NVFP4),
    "glm with a drafting layer": (GLM_AIR, None),
    "glm with a drafting layer, fp8": (GLM_AIR, FP8),
    "gpt-oss": (GPT_OSS, None),
    "deepseek": (V2_LITE, None),
    "minicpm3": (MINICPM3, None),
    "qwen3-vl": (QWEN3_VL_8B, None),
    "qwen3-vl tied": (QWEN3_VL_2B, None),
    "gemma 3": (GEMMA_3_27B, None),
    "nemotron-h": (NEMOTRON_NANO, None),
    "qwen3-next": (QWEN3_NEXT, None),
    "granite hybrid": (GRANITE_SMALL, None),
}


def checkpoint(name: str) -> Checkpoint:
    """As its publisher's files are, layers for drafting included."""
    config, block = FAMILIES[name]
    architecture = read_architecture(config)
    quantization = read_quantization(block["quant_method"], block, config) if block is not None else None
    held = (*expected_tensors(architecture, quantization), *drafting_tensors(architecture, quantization))
    return Checkpoint(architecture, quantization, held)


def row(of: Checkpoint, tensors: list[TensorKind] | tuple[TensorKind, ...], ranks: int = 1) -> LedgerRow:
    held = Checkpoint(of.architecture, of.quantization, tuple(tensors))
    return weights_row(held, Parallelism(ranks), "bfloat16", (9, 0))


def derived(of: Checkpoint) -> int:
    return weights_row(
        Checkpoint(of.architecture, of.quantization, None), Parallelism(), "bfloat16", (9, 0)
    ).bytes.expected


@pytest.mark.parametrize("name", FAMILIES)
def test_a_published_checkpoint_is_known_exactly(name: str) -> None:
    of = checkpoint(name)
    found = row(of, of.tensors or ())

    assert (found.basis, found.bytes.low, found.bytes.high) == (Basis.EXACT, derived(of), derived(of)), found.source


@pytest.mark.parametrize("name", FAMILIES)
def test_tensors_under_other_names_are_still_the_same(name: str) -> None:
    of = checkpoint(name)

    renamed = [kind.model_copy(update={"name": f"wrapped.{kind.name}"}) for kind in expected_of(of)]

    assert row(of, renamed).basis is Basis.EXACT


def expected_of(of: Checkpoint) -> tuple[TensorKind, ...]:
    return expected_tensors(of.architecture, of.quantization)


@pytest.mark.parametrize("name", FAMILIES)
def test_tensors_that_no_formula_knows_widen_the_interval_by_their_size(name: str) -> None:
    of = checkpoint(name)
    unknown = TensorKind(name="adapter.weight", dtype="F32", shape=(1000, 3), count=7)

    found = row(of, (*expected_of(of), unknown))

    assert found.basis is Basis.ESTIMATE
    assert found.bytes.low == found.bytes.expected == derived(of)
    assert found.bytes.high == derived(of) + 1000 * 3 * 7 * 2


@pytest.mark.parametrize("name", FAMILIES)
def test_a_checkpoint_that_lacks_tensors_is_not_called_exact(name: str) -> None:
    of = checkpoint(name)
    # GPTQ's order of activations is never kept.
    whole = tuple(kind for kind in expected_of(of) if not kind.name.endswith("g_idx"))

    for index in (0, len(whole) // 2, len(whole) - 1):
        assert row(of, whole[:index] + whole[index + 1 :]).basis is Basis.ESTIMATE, whole[index].name


def test_weights_wider_than_config_json_says_widen_the_interval() -> None:
    """A block that speaks of FP8 beside files in bfloat16: the engine may keep either."""
    of = checkpoint("qwen3 fp8 blocks")
    wide = [
        kind.model_copy(update={"dtype": "BF16"}) if kind.dtype == "F8_E4M3" else kind
        for kind in expected_of(of)
    ]  # fmt: skip

    found = row(of, wide)

    assert found.basis is Basis.ESTIMATE
    assert found.bytes.high > 1.8 * derived(of)


def test_a_projection_stored_in_fp8_and_served_in_bfloat16_costs_its_scales_only() -> None:
    of = checkpoint("deepseek")
    narrow = [
        kind.model_copy(update={"dtype": "F8_E4M3"}) if kind.name.endswith("kv_a_proj_with_mqa.weight") else kind
        for kind in expected_of(of)
    ]
    scales = TensorKind(
        name="model.layers.*.self_attn.kv_a_proj_with_mqa.weight_scale_inv", dtype="F32", shape=(5, 16), count=27
    )

    assert row(of, narrow).basis is Basis.EXACT
    assert row(of, (*narrow, scales)).bytes.high == derived(of) + 5 * 16 * 27 * 2


def test_empty_biases_of_gptq_s_tools_are_not_loaded() -> None:
    of = checkpoint("qwen2 gptq")
    weights = [kind for kind in expected_of(of) if kind.name.endswith("o_proj.qweight")]
    extra = [
        TensorKind(name=kind.name.removesuffix("qweight") + "bias", dtype="F16", shape=kind.shape[1:], count=kind.count)
        for kind in weights
    ]

    assert extra
    assert row(of, (*expected_of(of), *extra)).basis is Basis.EXACT


def test_scales_in_another_float_dtype_are_what_config_json_says() -> None:
    of = checkpoint("qwen2 awq")
    other = {"F16": "BF16", "BF16": "F16"}

    swapped = [kind.model_copy(update={"dtype": other.get(kind.dtype, kind.dtype)}) for kind in expected_of(of)]

    assert row(of, swapped).basis is Basis.EXACT
