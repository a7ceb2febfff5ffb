"""Attention backends and block sizes, as vLLM 0.33.0's own selector answers for these GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.kernels.attention import attention_plan, attention_refusal, common_block_size
from tests.unit.test_memory_latent import GLM_52, GLM_FLASH, MINICPM3, V3, V4_FLASH, V32
from tests.unit.test_memory_moe import MIMO

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 2, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
}  # fmt: skip
Gpu = tuple[int, int]


@pytest.mark.parametrize(
    ("config", "gpu", "flag", "backend", "block"),
    [
        (LLAMA, (7, 5), "auto", "TRITON_ATTN", 16),
        (LLAMA, (8, 6), "auto", "FLASH_ATTN", 16),
        (LLAMA, (8, 6), "fp8", "FLASHINFER", 16),
        (LLAMA, (9, 0), "fp8", "FLASH_ATTN", 16),
        (LLAMA, (10, 0), "auto", "FLASHINFER", 16),
        (LLAMA, (12, 0), "fp8", "FLASHINFER", 16),
        (LLAMA | {"head_dim": 96}, (8, 9), "fp8", "TRITON_ATTN", 16),
        (LLAMA | {"head_dim": 96}, (10, 0), "fp8", "FLASH_ATTN", 16),
        (LLAMA | {"head_dim": 512}, (8, 0), "auto", "FLASHINFER", 16),
        (LLAMA | {"head_dim": 512}, (9, 0), "fp8", "FLASH_ATTN", 64),
        (MINICPM3, (8, 0), "auto", "FLASH_ATTN", 16),
        (MIMO, (8, 6), "auto", "TRITON_ATTN_DIFFKV", 16),
        (MIMO, (9, 0), "fp8", "FLASH_ATTN_DIFFKV", 16),
        (MIMO, (10, 0), "auto", "FLASH_ATTN_DIFFKV", 16),
        (MIMO, (12, 0), "fp8", "TRITON_ATTN_DIFFKV", 16),
        (V3, (8, 0), "auto", "TRITON_MLA", 16),
        (V3, (9, 0), "auto", "FLASH_ATTN_MLA", 16),
        (V3, (9, 0), "fp8", "FLASHMLA", 64),
        (V3, (10, 0), "auto", "FLASHINFER_MLA", 32),
        (V3, (12, 0), "auto", "TRITON_MLA", 16),
        (GLM_FLASH, (8, 9), "fp8", "TRITON_MLA", 16),
        (V32, (9, 0), "auto", "FLASH_ATTN_MLA_SPARSE", 64),
        (V32, (9, 0), "fp8", "FLASHMLA_SPARSE", 64),
        # As ModelOpt's checkpoints choose it: FlashMLA takes the other name alone.
        (V32, (9, 0), "fp8_e4m3", "FLASHINFER_MLA_SPARSE_SM90", 64),
        (V32, (10, 0), "fp8_e4m3", "FLASHINFER_MLA_SPARSE", 64),
        (V32, (12, 0), "auto", "FLASHINFER_MLA_SPARSE_SM120", 64),
        (V4_FLASH, (9, 0), "auto", "FLASHMLA_SPARSE_DSV4", 256),
        (V4_FLASH, (12, 0), "fp8", "FLASHINFER_MLA_SPARSE_DSV4", 256),
    ],
)
def test_backend_and_block_size(config: dict[str, Any], gpu: Gpu, flag: str, backend: str, block: int) -> None:
    dtype = "float16" if gpu < (8, 0) else "bfloat16"
    plan = attention_plan(read_architecture(config), capability=gpu, served_dtype=dtype, kv_cache_dtype=flag)
    assert backend in plan.backends
    assert plan.block_size == block
    assert backend in plan.why


@pytest.mark.parametrize(
    ("config", "gpu", "flag", "kept"),
    [
        (V3, (9, 0), "auto", "bfloat16"),
        (V3, (9, 0), "fp8", "fp8"),
        (V32, (9, 0), "fp8", "fp8_ds_mla"),
        (V32, (9, 0), "fp8_e4m3", "fp8"),
        (V32, (9, 0), "bfloat16", "bfloat16"),
        (V32, (10, 0), "fp8", "fp8"),
        (V32, (12, 0), "auto", "fp8_ds_mla"),
        (GLM_52, (9, 0), "auto", "bfloat16"),
        (GLM_52, (10, 0), "auto", "fp8"),
        (V4_FLASH, (9, 0), "auto", "fp8_ds_mla"),
    ],
)
def test_what_the_cache_is_kept_as(config: dict[str, Any], gpu: Gpu, flag: str, kept: str) -> None:
    plan = attention_plan(read_architecture(config), capability=gpu, served_dtype="bfloat16", kv_cache_dtype=flag)
    assert plan.kv_dtype == kept


@pytest.mark.parametrize(
    ("config", "gpu", "flag", "reason"),
    [
        (LLAMA, (7, 5), "fp8", "needs compute capability 8.0, this GPU has 7.5"),
        (LLAMA | {"head_dim": 96}, (8, 6), "fp8", "head size of 64, 128, 256, 512, the model has 96"),
        (LLAMA | {"head_dim": 16}, (7, 5), "fp8", "no attention backend takes heads of 16"),
        (MIMO, (10, 0), "fp8", "keys of 192 and values of 128 is not read by FlashAttention 4"),
        (MIMO, (8, 6), "fp8", "below compute capability 8.9"),
        (V3, (7, 5), "auto", "latent attention needs compute capability 8.0"),
        (V3, (8, 6), "fp8", "latent attention needs compute capability 8.9"),
        (V3 | {"v_head_dim": 64}, (9, 0), "auto", "(128, 64, 64)"),
        (V4_FLASH, (8, 9), "auto", "DeepSeek V4 needs compute capability 9.x, 10.x or 12.x"),
        (V4_FLASH, (9, 0), "bfloat16", "DeepSeek V4 keeps its KV cache in fp8 only"),
        (V32, (8, 9), "auto", "no backend runs sparse latent attention"),
        (V32 | {"index_topk": 1024}, (12, 0), "auto", "no backend runs sparse latent attention"),
    ],
)
def test_attention_that_no_backend_runs_is_refused_with_the_reason(
    config: dict[str, Any], gpu: Gpu, flag: str, reason: str
) -> None:
    dtype = "float16" if gpu < (8, 0) else "bfloat16"
    refusal = attention_refusal(read_architecture(config), capability=gpu, served_dtype=dtype, kv_cache_dtype=flag)
    assert refusal is not None
    assert reason in refusal


def test_a_model_that_runs_is_not_refused() -> None:
    assert attention_refusal(read_architecture(LLAMA), capability=(8, 0), served_dtype="bfloat16") is None
    assert attention_plan(read_architecture(V32), capability=(9, 0), served_dtype="bfloat16").block_size == 64


def test_backends_of_one_model_share_a_block_size() -> None:
    assert common_block_size([(16,)]) == 16
    assert common_block_size([(32, 64)]) == 32
    assert common_block_size([(32, 64), (64,)]) == 64
    assert common_block_size([(128,), (64,)]) == 128
    assert common_block_size([]) == 16
