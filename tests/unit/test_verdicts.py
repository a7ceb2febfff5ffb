"""What vLLM itself refuses is refused with its reason, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.engines.vllm.judge.verdicts import Engine, refusal_of
from compiler.engines.vllm.releases import RELEASES

HOPPER = Engine(RELEASES["0.33.0"], (9, 0))
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
    "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30, "vocab_size": 49152,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
}  # fmt: skip


def verdict(config: dict[str, Any], block: dict[str, Any] | None = None, *, tp: int = 1, pp: int = 1) -> str | None:
    method = block["quant_method"] if block else None
    return refusal_of(config, method, block, HOPPER, parallelism=Parallelism(tp, pp), dtype="bfloat16")


def test_a_model_that_is_served_is_not_refused() -> None:
    assert verdict(LLAMA) is None
    assert verdict(LLAMA, tp=3) is None


def test_heads_that_do_not_divide() -> None:
    assert verdict(LLAMA, tp=2) == "9 attention heads do not divide by 2"


def test_heads_count_for_architectures_without_formulas() -> None:
    assert verdict({"architectures": ["DbrxForCausalLM"], "num_attention_heads": 9}, tp=2) is not None
    nested = {"architectures": ["AriaForConditionalGeneration"], "text_config": {"num_attention_heads": 9}}
    assert verdict(nested, tp=2) is not None
    assert verdict(nested) is None


def test_an_encoder_is_not_divided_into_stages() -> None:
    bert = {"architectures": ["BertModel"], "model_type": "bert", "num_attention_heads": 16}
    assert "pipeline stages" in str(verdict(bert, pp=2))


@pytest.mark.parametrize("method", ["hqq", "exl2", "bitsandbytes"])
def test_methods_that_the_release_does_not_have(method: str) -> None:
    assert method in str(verdict(LLAMA, {"quant_method": method}))


def test_activation_ordering_over_groups() -> None:
    block = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True, "sym": True}
    assert "activation ordering" in str(verdict(LLAMA, block))


@pytest.mark.parametrize(
    "config",
    [{}, {"architectures": []}, {"architectures": [7]}, LLAMA | {"num_hidden_layers": 0}, LLAMA | {"vocab_size": "x"}],
)
def test_a_config_that_cannot_be_read_is_refused_by_key(config: dict[str, Any]) -> None:
    assert "`" in str(verdict(config))


def test_experts_in_blocks_that_a_gpu_has_no_kernel_for() -> None:
    qwen: dict[str, Any] = LLAMA | {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 1024,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 8, "num_experts_per_tok": 2,
        "decoder_sparse_step": 1, "moe_intermediate_size": 768, "mlp_only_layers": [],
    }  # fmt: skip
    block = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    for capability, refused in (((8, 0), True), ((8, 9), False)):
        engine = Engine(RELEASES["0.33.0"], capability)
        said = refusal_of(qwen, "fp8", block, engine, parallelism=Parallelism(4), dtype="bfloat16")
        assert ("FP8 blocks of 64 by 64" in str(said)) is refused
