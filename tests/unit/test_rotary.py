"""Tables of rotary positions: as many and as large as get_rope of vLLM 0.33.0 makes them, which was asked."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.rotary_bytes import rotary_tables
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.history import GPU_0_19
from compiler.engines.vllm.releases.v0_33_0 import GPU as GPU_0_33
from compiler.units import MIB
from tests.unit.test_engine_counts import CASES
from tests.unit.test_gemma4 import GEMMA_4_26B
from tests.unit.test_memory import LLAMA_8B, QWEN3_8B
from tests.unit.test_memory_latent import MINICPM3, V2_LITE, V4_FLASH
from tests.unit.test_memory_moe import GPT_OSS
from tests.unit.test_memory_pooling import BERT, GPT2, JAMBA
from tests.unit.test_memory_vision import GEMMA_3_27B, QWEN2_VL, QWEN3_VL_8B

SHAPE = ServerShape(1, 4096, 256, 2048, "bfloat16", (9, 0))
PLAIN = {key: value for key, value in LLAMA_8B.items() if not key.startswith("rope_")} | {"rope_theta": 1e4}
LONGROPE = {"type": "longrope", "short_factor": [1.0] * 64, "long_factor": [1.0] * 64}
CHUNKS = {"chunk_size": 262144, "local_size": 8192}
EIGHTFOLD = {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
GEMMA_3_LONG = GEMMA_3_27B | {"text_config": GEMMA_3_27B["text_config"] | EIGHTFOLD}
SECTIONS = {"rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True}}
QWEN3_VL_READS = QWEN3_VL_8B | {"text_config": QWEN3_VL_8B["text_config"] | SECTIONS}
# bfloat16 where no dtype is said.
TABLES: dict[str, tuple[dict[str, Any], list[tuple[int, int]]]] = {
    "one for all layers": (PLAIN, [(131072, 128)]),
    "a length that is not said": (PLAIN | {"max_position_embeddings": None}, [(2048, 128)]),
    "llama3 is not longer": (LLAMA_8B, [(131072, 128)]),
    "one for each layer, for videos": (
        CASES["Ernie4_5_VLMoeForConditionalGeneration"]["config"],
        [(4 * 131072, 128)] * 4,
    ),
    "linear": (PLAIN | {"rope_scaling": {"type": "linear", "factor": 2.5}}, [(327680, 128)]),
    "dynamic is not longer": (PLAIN | {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, [(131072, 128)]),
    "yarn starts from the original length": (
        PLAIN | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}},
        [(16384, 128)],
    ),
    "longrope has a short and a long one": (
        PLAIN | {"rope_scaling": LONGROPE, "original_max_position_embeddings": 4096}, [(131072 + 4096, 128)],
    ),
    "part of a head": (PLAIN | {"partial_rotary_factor": 0.25}, [(131072, 32)]),
    "part of a head by another name": (PLAIN | {"rotary_pct": 0.5}, [(131072, 64)]),
    "chunks": (QWEN3_8B | {"dual_chunk_attention_config": CHUNKS}, [(40960 + 4 * (262144 - 8192), 128)]),
    "layers without positions": (GPT2, []),
    "an encoder that adds positions": (BERT, []),
    "states and attention without positions": (JAMBA, []),
    "transformers' own modules": (PLAIN | {"architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3"}, []),
    "layers that see all are scaled eightfold": (GEMMA_3_LONG, [(131072, 128), (1048576, 128)]),
    "widths by kind of layer": (GEMMA_4_26B, [(262144, 256), (262144, 512)]),
    "float32": (GPT_OSS, [(131072, 64)]),
    "latents rotate a part": (V2_LITE, [(163840, 64)]),
    "latent projections with whole heads": (MINICPM3 | {"rope_scaling": LONGROPE}, [(32768 + 32768, 32)]),
    "compressed layers beside others": (V4_FLASH, [(1048576, 64), (1048576, 64)]),
    "positions of videos": (QWEN2_VL, [(4 * 32768, 128)]),
    "positions of videos by tokens": (QWEN3_VL_READS, [(262144, 128)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_the_engines(name: str) -> None:
    config, expected = TABLES[name]
    found = read_architecture(config).rotary
    assert sorted((table.rows, table.width) for table in found) == sorted(expected)
    fixed = {table.dtype for table in found}
    assert fixed <= ({"float32"} if config in (GPT_OSS, V4_FLASH) else {None})


def test_bytes_do_not_depend_on_the_length_that_is_served() -> None:
    architecture = read_architecture(GEMMA_3_LONG)
    assert rotary_tables(GPU_0_33, architecture, SHAPE) == (1048576 + 131072) * 128 * 2
    longer = dataclasses.replace(SHAPE, max_model_len=131072)
    assert rotary_tables(GPU_0_33, architecture, longer) == rotary_tables(GPU_0_33, architecture, SHAPE)


def test_a_key_without_a_name_is_no_key_of_the_rotation() -> None:
    assert read_architecture(LLAMA_8B | {"": {"": []}}).rotary == read_architecture(LLAMA_8B).rotary


def test_deepseeks_own_scaling_is_float32_where_nothing_is_compiled() -> None:
    rope = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}
    architecture = read_architecture(V2_LITE | {"rope_scaling": rope})
    assert rotary_tables(GPU_0_33, architecture, SHAPE) == 20 * MIB
    assert rotary_tables(GPU_0_33, architecture, dataclasses.replace(SHAPE, enforce_eager=True)) == 40 * MIB


def test_older_releases_made_room_for_videos_in_every_model_that_reads_them() -> None:
    architecture = read_architecture(QWEN3_VL_READS)
    assert rotary_tables(GPU_0_19, architecture, SHAPE) == 4 * rotary_tables(GPU_0_33, architecture, SHAPE)


@pytest.mark.parametrize("part", [0, 1.5, "half", True])
def test_parts_that_the_engine_refuses_are_named(part: object) -> None:
    with pytest.raises(ConfigError, match="partial_rotary_factor"):
        read_architecture(PLAIN | {"partial_rotary_factor": part})


@pytest.mark.parametrize("factor", [None, 0, "two", 1e9])
def test_a_scaling_without_a_sound_factor_is_named(factor: object) -> None:
    with pytest.raises(ConfigError, match="factor"):
        read_architecture(PLAIN | {"rope_scaling": {"rope_type": "yarn", "factor": factor}})


def test_blocks_of_a_perception_encoder_keep_angles_of_every_patch() -> None:
    found = read_architecture(CASES["StepVLForConditionalGeneration"]["config"]).rotary
    angles = [(table.rows, table.width) for table in found if table.dtype == "float32"]
    assert angles == [((728 // 14) ** 2, 1536 // 16)] * 4
