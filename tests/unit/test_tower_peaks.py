"""What towers take while they run, and how many items the profile run gives them."""

from __future__ import annotations

import re

import pytest

from compiler.checkpoints.config import Config
from compiler.checkpoints.families.towers.others import internvl_tower
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.encoder_budget import EncoderShape, encoder_budget, encoder_memory, largest_item
from tests.unit.test_memory_vision import GEMMA_3_27B, LLAVA, MISTRAL_3, QWEN2_5_VL, QWEN2_VL, QWEN3_VL_8B


def shape(length: int = 4096, tokens: int = 8192) -> EncoderShape:
    return EncoderShape(tokens, 256, length, "bfloat16")


def test_the_budget_is_the_largest_item_or_a_batch() -> None:
    # An image of Qwen2.5-VL has 16384 tokens by the published preprocessor_config.json, which vLLM logs as its budget;
    # a video of 14 frames, where max_model_len holds one, has as many for every two frames.
    assert encoder_budget(read_architecture(QWEN2_5_VL), shape(8192)) == (8192, 16384)
    assert encoder_budget(read_architecture(QWEN2_5_VL), shape(128000))[1] == 7 * 16384
    assert encoder_budget(read_architecture(LLAVA), shape()) == (8192, 8192)


def test_towers_run_on_the_first_stage_only() -> None:
    architecture = read_architecture(QWEN3_VL_8B)
    memory = encoder_memory(architecture, Parallelism(2, 2), shape())
    assert memory is not None
    assert 0 < memory.tower.low <= memory.tower.expected <= memory.tower.high
    # Four levels of 4096 for each of 16384 tokens of an image, and three buffers for a batch.
    assert memory.outputs.high == 16384 * 4 * 4096 * 2
    assert memory.buffers == 3 * 8192 * 4096 * 2
    assert encoder_memory(architecture, Parallelism(2, 2, 1), shape()) is None


PEAKS = {
    "clip": (LLAVA, 1024, 4096, 12_875),
    "siglip": (GEMMA_3_27B, 1152, 4304, 13_804),
    "pixtral": (MISTRAL_3, 1024, 4096, 19_157),
    "qwen2_vl": (QWEN2_VL, 1280, 5120, 15_784),
    "qwen2_5_vl": (QWEN2_5_VL, 1280, 3420, 18_448),
    "qwen3_vl": (QWEN3_VL_8B, 1152, 4304, 15_944),
}
"""Config, widths of hidden states and MLP, and elements that are alive for each patch where a tower's class of vLLM
0.33.0 needs most: it was run on a CPU with three layers of these widths, and every tensor was followed."""


@pytest.mark.parametrize("name", PEAKS)
def test_the_likely_peak_of_a_tower_is_that_of_the_engine_s_class(name: str) -> None:
    config, width, inner, measured = PEAKS[name]
    encoder = read_architecture(config).encoders[0]
    assert (encoder.hidden_size, encoder.intermediate_size) in ((width, inner), (width, 2 * inner))
    architecture = read_architecture(config)
    memory = encoder_memory(architecture, Parallelism(), shape())
    assert memory is not None
    rows = _profiled_rows(memory.source)
    assert 0.9 < measured / (memory.tower.expected / rows / 2) < 1.05
    assert memory.tower.low / rows / 2 < measured < memory.tower.high / rows / 2


def _profiled_rows(source: str) -> int:
    found = re.search(r"(\d+) items of (\d+) tokens, (\d+) patches each", source)
    assert found is not None
    return int(found[1]) * int(found[2]) * int(found[3])


def test_more_ranks_and_shorter_batches_never_take_more() -> None:
    architecture = read_architecture(MISTRAL_3)
    sizes = []
    for layout, tokens in ((Parallelism(), 16384), (Parallelism(2), 16384), (Parallelism(2), 2048)):
        memory = encoder_memory(architecture, layout, shape(tokens=tokens))
        assert memory is not None
        sizes.append(memory.tower.high)
    assert sizes == sorted(sizes, reverse=True)


def test_a_video_of_internvl_has_as_many_frames_as_the_context_allows() -> None:
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 2, "num_attention_heads": 16}
    encoder = internvl_tower(
        Config({"llm_config": {"hidden_size": 4096}, "vision_config": vision | {"image_size": 448}})
    )
    assert encoder.item.tokens == (256, 256)
    assert [largest_item(encoder, length)[1] for length in (2048, 32768)] == [2048, 32768]
