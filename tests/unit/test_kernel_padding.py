"""GPUs other than Hopper hold more of some models than the parameters that vLLM answers for on an H100."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.architecture import Linear
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.buffers import segment_rests
from compiler.engines.vllm.memory.weights import weights_row
from compiler.units import GIB, MIB
from tests.unit.test_hybrid import NEMOTRON_NANO

GPT_OSS_20B: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880,
    "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
    "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "vocab_size": 201088,
    "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "layer_types": ["sliding_attention", "full_attention"] * 12,
}  # fmt: skip
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}


def padding(capability: tuple[int, int] | None, ranks: int = 1) -> int:
    quantization = read_quantization("mxfp4", MXFP4, GPT_OSS_20B)
    checkpoint = Checkpoint(read_architecture(GPT_OSS_20B), quantization, None)
    row = weights_row(checkpoint, Parallelism(ranks), "bfloat16", capability)
    return row.bytes.expected - weights_row(checkpoint, Parallelism(ranks), "bfloat16", (9, 0)).bytes.expected


def test_marlin_s_tiles_are_wider_than_triton_s() -> None:
    # Per layer of 32 experts: hidden 2880 → 3072, width 2880 → 2944 instead of 2880; half a byte and a scale for 32.
    weights = 3 * (3072 * 2944 - 2880 * 2880) * 17 // 32
    biases = 2 * (2 * (2944 - 2880) + (3072 - 2880))
    assert padding((8, 9)) == 24 * 32 * (weights + biases)


@pytest.mark.parametrize("capability", [(9, 0), None])
def test_hopper_s_own_layout_is_not_padded_twice(capability: tuple[int, int] | None) -> None:
    assert padding(capability) == 0


def test_each_rank_pads_its_own_slice() -> None:
    assert padding((8, 0), ranks=2) * 2 >= padding((8, 0))


def test_what_loading_took_of_gpt_oss_is_as_marlin_pads_it() -> None:
    """13.80 GiB on a GB10 with vLLM 0.30.0, where tensors of 20 MiB and more keep their segments."""
    quantization = read_quantization("mxfp4", MXFP4, GPT_OSS_20B)
    checkpoint = Checkpoint(read_architecture(GPT_OSS_20B), quantization, None)
    parameters = weights_row(checkpoint, Parallelism(), "bfloat16", (12, 1)).bytes.expected
    rests = segment_rests(checkpoint, Parallelism(), "bfloat16", (12, 1), largest_split=20 * MIB).expected
    rotary = 131072 * 64 * 4
    assert (parameters + rests + rotary) / GIB == pytest.approx(13.80, abs=0.03)


def test_routers_in_float32_are_wider_where_no_kernel_narrows_them() -> None:
    checkpoint = Checkpoint(read_architecture(NEMOTRON_NANO), None, None)
    sizes = {
        major: weights_row(checkpoint, Parallelism(), "bfloat16", (major, 0)).bytes.expected for major in (8, 9, 10, 12)
    }
    routers = [
        module
        for layer in checkpoint.architecture.layers
        for module in layer.modules
        if isinstance(module, Linear) and module.name == "mixer.gate"
    ]
    assert sizes[9] == sizes[10]
    assert sizes[8] == sizes[12] == sizes[9] + sum(2 * router.outputs * router.inputs for router in routers)
    assert routers
