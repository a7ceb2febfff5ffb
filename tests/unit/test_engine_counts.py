"""Weights and KV cache of models that few tests else know, against counts of vLLM 0.33.0's own classes.

`engine_counts.json` has one model a line: a config.json with the widths of a published model, few layers and no more
keys than are read, and for each layout what the engine says, built on torch's meta device as for an H100: tensor ranks,
pipeline stages, stage, bytes of all parameters (and of a resampler's tables of positions), and blocks of 16 GiB of KV
cache.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.checkpoints.architecture import served_dtype
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.units import GIB

CASES: dict[str, Any] = json.loads(Path(__file__).with_name("engine_counts.json").read_text())
H100 = (9, 0)


@pytest.mark.parametrize("name", CASES)
def test_the_engine_counts_the_same(name: str) -> None:
    config, counts = CASES[name]["config"], CASES[name]["counts"]
    assert counts
    assert [counted(config, *row[:3]) for row in counts] == counts


def counted(config: dict[str, Any], ranks: int, stages: int, stage: int) -> list[int]:
    """A row of the file, by our formulas."""
    architecture, parallelism = read_architecture(config), Parallelism(ranks, stages, stage)
    block = config.get("quantization_config")
    quantization = read_quantization(block["quant_method"], block, config) if block else None
    check_split(architecture, quantization, parallelism)
    dtype = served_dtype(
        architecture.checkpoint_dtype,
        bfloat16_runs=True,
        pooling=architecture.pooling,
        float16=architecture.float16,
    )
    plan = attention_plan(
        architecture, capability=H100, served_dtype=dtype, kv_cache_dtype="auto", tensor_parallel_size=ranks
    )
    layout = rank_kv_layout(
        architecture,
        parallelism,
        dtype=plan.kv_dtype,
        block_size=plan.block_size,
        max_num_batched_tokens=8192,
        served_dtype=dtype,
        compute_capability=H100,
    )
    blocks = 16 * GIB // layout.bytes_per_block if layout.bytes_per_block else 0
    weights = rank_weights(architecture, quantization, parallelism, served_dtype=dtype)
    return [ranks, stages, stage, weights, blocks]
