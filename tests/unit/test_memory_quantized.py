"""Quantized layouts against figures that vLLM 0.33.0 itself gives for these configs (built on torch's meta device)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.formats import Kind, Quantization, Unit
from compiler.checkpoints.quantization.read import UnknownLayoutError, read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from tests.examples import examples

DENSE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2048,
    "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000,
    "max_position_embeddings": 8192, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
EXPERTS = DENSE | {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 768, "head_dim": 128,
}  # fmt: skip

INT4 = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, "dynamic": False}
INT8 = INT4 | {"num_bits": 8, "strategy": "channel", "group_size": None}
INT8_INPUTS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
STATIC_INPUTS = INT8_INPUTS | {"symmetric": False, "strategy": "tensor", "dynamic": False}
FLOAT8 = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False}
FLOAT8_INPUTS = FLOAT8 | {"strategy": "token", "dynamic": True}
FLOAT8_STATIC = FLOAT8 | {"strategy": "tensor"}
BLOCKS = FLOAT8 | {"strategy": "block", "block_structure": [128, 128]}
NVFP4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
MXFP4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "group", "group_size": 32}
MXFP8 = MXFP4 | {"num_bits": 8, "scale_dtype": "torch.uint8"}


def compressed(
    form: str, weights: dict[str, Any], inputs: dict[str, Any] | None = None, cache: dict[str, Any] | None = None
) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head", "re:.*mlp.gate$"],
        "kv_cache_scheme": cache, "config_groups": {"group_0": group},
    }  # fmt: skip


def modelopt(algorithm: str, *ignored: str, **more: Any) -> dict[str, Any]:
    return {"quant_method": "modelopt", "quant_algo": algorithm, "ignore": list(ignored), **more}


AWQ = {
    "quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True,
    "modules_to_not_convert": ["gate", "layers.0.self_attn"],
}  # fmt: skip
GPTQ = {
    "quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True, "lm_head": True,
    "dynamic": {r"-:.*\.0\..*": {}, r"+:.*down_proj.*": {"bits": 8, "group_size": 64}, r"-:.*gate$": {}},
}  # fmt: skip
FP8_STATIC = {
    "quant_method": "fp8", "activation_scheme": "static",
    "ignored_layers": [
        "lm_head", "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj",
        "model.layers.1.self_attn.v_proj", "model.layers.2.mlp.experts",
    ],
}  # fmt: skip
FP8_BLOCKS = {
    "quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
    "modules_to_not_convert": [*(f"model.layers.{index}.mlp.gate" for index in range(4)), "lm_head"],
}  # fmt: skip
FLOAT_CACHE = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
MIXED = modelopt(
    "MIXED_PRECISION", "lm_head", kv_cache_scheme={"num_bits": 8, "type": "float"},
    quantized_layers={
        **{f"model.layers.{i}.self_attn.{p}_proj": {"quant_algo": "FP8"} for i in range(4) for p in "qkvo"},
        **{f"model.layers.{i}.mlp.experts": {"quant_algo": "NVFP4", "group_size": 16} for i in range(3)},
        **{f"model.layers.{i}.mlp.{p}_proj": {"quant_algo": "NVFP4"} for i in range(3) for p in ("gate", "up", "down")},
    },
)  # fmt: skip
AUTO_ROUND = {
    "quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True, "data_type": "int",
    "packing_format": "auto_round:auto_gptq",
}  # fmt: skip


def weights(config: dict[str, Any], block: dict[str, Any], ranks: int = 1) -> int:
    architecture, quantization = read_architecture(config), read_quantization(block["quant_method"], block)
    check_split(architecture, quantization, Parallelism(ranks))
    return rank_weights(architecture, quantization, Parallelism(ranks), served_dtype="bfloat16")


# Blocks, then bytes of the dense model on 1 and 8 ranks and of the one with experts on 1 and 8; None where vLLM
# refuses it.
FIGURES: dict[str, tuple[dict[str, Any], int | None, int | None, int | None, int | None]] = {
    "awq": (AWQ, 178649088, 22584320, 190820352, 24770560),
    "gptq": (GPTQ, 120731648, 15352320, 174751744, 22451712),
    "fp8 static": (FP8_STATIC, 168315112, 21383400, 249614984, 31904392),
    "fp8 blocks": (FP8_BLOCKS, 166750752, 21122208, 227650592, 29090592),
    "int4": (compressed("pack-quantized", INT4), 151144776, 19056968, 185422280, 23548360),
    "int4 asymmetric": (
        compressed("pack-quantized", INT4 | {"symmetric": False}), 151701832, 19130696, 186929608, 23744968,
    ),
    "int4 by channel": (
        compressed("pack-quantized", INT4 | {"strategy": "channel", "group_size": None}),
        148977992, 18784584, 179589576, 22852040,
    ),
    "int8": (compressed("int-quantized", INT8, INT8_INPUTS), 166864968, 21166152, 228020296, 29233224),
    "int8 static": (compressed("int-quantized", INT8, STATIC_INPUTS), 166865048, 21166232, None, None),
    "float8": (compressed("float-quantized", FLOAT8, FLOAT8_INPUTS), 166864968, 21166152, 228020296, 29233224),
    "float8 static": (
        compressed("float-quantized", FLOAT8_STATIC, FLOAT8_STATIC, FLOAT_CACHE),
        166742312, 21121320, 227627848, 29053768,
    ),
    "float8 blocks": (compressed("float-quantized", BLOCKS, FLOAT8_INPUTS), 166750792, None, 227650632, None),
    "float8 weights": (compressed("float-quantized", FLOAT8), 166864968, 21166152, None, None),
    "nvfp4": (compressed("nvfp4-pack-quantized", NVFP4, NVFP4), 151144744, 19056936, 185422792, 23548872),
    "nvfp4 weights": (compressed("nvfp4-pack-quantized", NVFP4), 151144632, 19056824, 185422728, 23548808),
    "mxfp4": (compressed("mxfp4-pack-quantized", MXFP4), 150030408, 18909256, 182407240, 23154760),
    "mxfp8": (compressed("mxfp8-quantized", MXFP8, MXFP8), 167856200, 21268552, 230641736, 29446216),
    "modelopt fp8": (
        modelopt("FP8", "lm_head", "model.layers.0.self_attn*", "*mlp.gate"), 169363680, 21514464, 232870656, 29840128,
    ),
    "modelopt fp8 blocks": (
        modelopt("FP8_PB_WO", "lm_head", "*mlp*"), 191910432, 24267168, 303129632, 38490912,
    ),
    "modelopt nvfp4": (
        modelopt("NVFP4", "*self_attn*", group_size=16), 119113864, 15429768, 168418120, 22135624,
    ),
    "modelopt nvfp4 weights": (
        modelopt("W4A16_NVFP4", "lm_head", "*gate", group_size=16), 151144648, 19056840, 185422720, 23548800,
    ),
    "mxfp8 by its own name": (
        {"quant_method": "mxfp8", "ignored_layers": ["lm_head"]}, 167856160, 21268512, 230609952, 29414432,
    ),
    "modelopt mxfp8": (modelopt("MXFP8", "lm_head"), 167856160, 21268512, 230609952, 29414432),
    "modelopt mixed": (MIXED, 164776168, 20875496, 221729504, 28316384),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(
    ("column", "config", "ranks"), [(1, DENSE, 1), (2, DENSE, 8), (3, EXPERTS, 1), (4, EXPERTS, 8)]
)
def test_quantized_weights_equal_the_engine_s_own_count(
    name: str, column: int, config: dict[str, Any], ranks: int
) -> None:
    block, *sizes = FIGURES[name]
    expected = sizes[column - 1]
    if expected is None:
        with pytest.raises((ConfigError, SplitError)):
            weights(config, block, ranks)
    else:
        assert weights(config, block, ranks) == expected


def test_auto_round_leaves_out_what_extra_config_leaves_at_16_bits() -> None:
    usual, some = (
        weights(DENSE, AUTO_ROUND),
        weights(DENSE, AUTO_ROUND | {"extra_config": {".*down_proj": {"bits": 16}}}),
    )
    assert some - usual == 4 * (2 * 1024 * 2048 - (1024 * 2048 // 2 + 16 * 1024 * 2 + 16 * 1024 // 2))


def chosen(block: dict[str, Any]) -> Quantization:
    quantization = read_quantization(block["quant_method"], block)
    assert quantization is not None
    return quantization


QKV = Unit(
    Kind.LINEAR, "model.layers.0.self_attn.qkv_proj",
    tuple(f"model.layers.0.self_attn.{name}_proj" for name in "qkv"),
)  # fmt: skip


def test_a_fused_projection_is_left_out_by_any_of_its_own_names() -> None:
    for names in (["model.layers.0.self_attn.q_proj"], ["model.layers.0.self_attn.qkv_proj"], list(QKV.shards)):
        assert chosen(FP8_BLOCKS | {"modules_to_not_convert": names}).chooser.pick(QKV) is None
    assert chosen(FP8_BLOCKS).chooser.pick(QKV) is not None


def test_patterns_that_leave_out_half_a_fused_projection_are_refused() -> None:
    block = compressed("pack-quantized", INT4) | {"ignore": ["re:.*q_proj"]}
    with pytest.raises(ConfigError, match="qkv_proj"):
        chosen(block).chooser.pick(QKV)


def test_a_group_that_names_a_layer_goes_before_the_one_for_all() -> None:
    block = compressed("pack-quantized", INT4)
    block["config_groups"]["group_1"] = {"targets": ["re:.*self_attn.*"], "weights": INT8, "input_activations": None}
    attention, mlp = (
        chosen(block).chooser.pick(QKV),
        chosen(block).chooser.pick(Unit(Kind.LINEAR, "model.layers.0.mlp.down_proj")),
    )
    assert attention is not None
    assert mlp is not None
    assert (attention.bits, mlp.bits) == (8, 4)


def test_lists_hold_names_of_checkpoints_and_modules_have_those_of_the_engine() -> None:
    block = FP8_BLOCKS | {"modules_to_not_convert": ["model.language_model.layers.0.mlp.down_proj"]}
    chooser = chosen(block).chooser.renamed(
        lambda name: name.replace("model.language_model.", "language_model.model.", 1)
    )
    assert chooser.pick(Unit(Kind.LINEAR, "language_model.model.layers.0.mlp.down_proj")) is None
    assert chooser.pick(Unit(Kind.LINEAR, "language_model.model.layers.1.mlp.down_proj")) is not None


@pytest.mark.parametrize(
    ("block", "dtype"),
    [
        (modelopt("FP8", kv_cache_scheme={"num_bits": 8, "type": "float", "dynamic": False}), "fp8_e4m3"),
        (modelopt("FP8", kv_cache_scheme={"num_bits": 8, "type": "float"}), None),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}, "fp8_e4m3"),
        (compressed("pack-quantized", INT4, None, FLOAT_CACHE), "fp8"),
        (AWQ, None),
    ],
)
def test_a_checkpoint_may_choose_the_cache_s_dtype(block: dict[str, Any], dtype: str | None) -> None:
    assert chosen(block).kv_cache_dtype == dtype


@pytest.mark.parametrize(
    ("block", "error", "named"),
    [
        ({"quant_method": "fp8"}, ConfigError, "activation_scheme"),
        (FP8_BLOCKS | {"activation_scheme": "static"}, ConfigError, "weight_block_size"),
        (FP8_BLOCKS | {"modules_to_not_convert": "lm_head"}, ConfigError, "modules_to_not_convert"),
        (GPTQ | {"desc_act": True}, ConfigError, "desc_act"),
        (GPTQ | {"dynamic": {"-:(": {}}}, ConfigError, "expression"),
        (AWQ | {"bits": 3}, ConfigError, "bits"),
        (compressed("pack-quantized", INT4 | {"actorder": "group"}), ConfigError, "actorder"),
        (compressed("float-quantized", BLOCKS | {"block_structure": "128x128"}), ConfigError, "block_structure"),
        (compressed("pack-quantized", INT4, None, INT8_INPUTS), ConfigError, "kv_cache_scheme"),
        (modelopt("MIXED_PRECISION"), ConfigError, "quantized_layers"),
        (modelopt("INT4_AWQ"), UnknownLayoutError, "INT4_AWQ"),
        ({"quant_method": "quark"}, UnknownLayoutError, "quark"),
    ],
)
def test_blocks_that_cannot_be_laid_out_are_refused_by_name(
    block: dict[str, Any], error: type[ConfigError], named: str
) -> None:
    with pytest.raises(error, match=named):
        read_quantization(block["quant_method"], block)


def test_blocks_of_experts_that_ranks_cut_are_made_smaller() -> None:
    """768 over 8 ranks is 96, in which 128 does not fit but 32 does; the down projection has no such way out."""
    assert weights(EXPERTS, FP8_BLOCKS, 8) == 29090592
    with pytest.raises(SplitError, match="down_proj has 1088 inputs, no multiple of 8 ranks × group 128"):
        weights(DENSE | {"intermediate_size": 1088}, FP8_BLOCKS, 8)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(sorted({key for block, *_ in FIGURES.values() for key in block}))


@examples(20)
@given(st.sampled_from(sorted(FIGURES)), st.dictionaries(keys, values, min_size=1, max_size=2))
def test_no_block_of_a_stranger_ends_in_a_traceback(name: str, change: dict[str, Any]) -> None:
    block = {**FIGURES[name][0], **change}
    try:
        quantization = read_quantization(str(FIGURES[name][0]["quant_method"]), block)
        for config in (DENSE, EXPERTS):
            rank_weights(read_architecture(config), quantization, Parallelism(2), served_dtype="bfloat16")
    except (ConfigError, SplitError):
        return
