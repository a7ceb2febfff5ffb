"""Layers that a quantizer's lists do not tell apart are looked up once: as each would be looked up alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.modules import fused_modules, packed_layers, packed_modules
from compiler.checkpoints.quantization.formats import Quantization
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from tests.unit.test_memory_quantized import EXPERTS, FLOAT8, FLOAT8_INPUTS, INT4, compressed, modelopt

# 13 layers: numbers of one digit and of two, and parts of one another.
MODEL = read_architecture(EXPERTS | {"num_hidden_layers": 13})

# What checkpoints list, and what they might: whole names, parts of names and of numbers, patterns and expressions.
NUMBERS = st.sampled_from(("", "0", "1", "3", "12", "1*", "*2", "?", "[0-3]", r"\d", "(1|3)", "1.*"))
ENDS = st.sampled_from(("", ".", ".self_attn", ".self_attn.o_proj", ".self_attn*", ".mlp.experts", ".mlp.experts.0*"))
STARTS = st.sampled_from(("model.layers.", "layers.", "re:.*layers.", "*.", "", "re:model.layers[.]"))
NAMES = st.builds(lambda start, number, end: start + number + end, STARTS, NUMBERS, ENDS).filter(bool)


def blocks(listed: list[str]) -> list[dict[str, Any]]:
    """The same list as different quantizers take it."""
    awq = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "modules_to_not_convert": listed}
    fp8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "ignored_layers": listed}
    rules = {f"+:{name.removeprefix('re:')}": {"bits": 8} for name in listed}
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True, "dynamic": rules}
    grouped = compressed("float-quantized", FLOAT8, FLOAT8_INPUTS)
    grouped["config_groups"]["group_1"] = {"targets": listed, "weights": INT4, "format": "pack-quantized"}
    rounded = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True, "data_type": "int"}
    rounded |= {"packing_format": "auto_round:auto_gptq", "extra_config": {name: {"bits": 8} for name in listed}}
    mixed = modelopt("MIXED_PRECISION", *listed[1:], quantized_layers={listed[0]: {"quant_algo": "FP8"}})
    return [awq, fp8, gptq, grouped | {"ignore": listed[1:]}, rounded, modelopt("NVFP4", *listed), mixed]


def packings(quantization: Quantization) -> list[list[object]]:
    """Of each layer's modules, looked up for each layer."""
    prefix = MODEL.layer_prefix
    found = []
    for index, layer in enumerate(MODEL.layers):
        modules = packed_modules(MODEL, quantization, f"{prefix}.{index}.", fused_modules(layer.modules))
        found.append([packed.packing for packed in modules])
    return found


@settings(max_examples=40, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_a_layer_is_stored_as_if_it_were_looked_up_alone(listed: list[str]) -> None:
    for block in blocks(listed):
        try:
            quantization = read_quantization(block["quant_method"], block)
            assert quantization is not None
            alone = packings(quantization)
        except ConfigError:
            continue
        together = [[each.packing for each in layer.modules] for layer in packed_layers(MODEL, quantization)]
        assert together == alone, block["quant_method"]
