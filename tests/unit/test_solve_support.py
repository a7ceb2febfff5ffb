"""The engine's support table, row by row, at the capability where each begins and the one before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.quantization.read import read_quantization
from compiler.engines.vllm.judge.schemes import schemes_of
from compiler.engines.vllm.judge.support import is_weight_only, why_not_served
from compiler.engines.vllm.releases import RELEASES
from tests.examples import examples

GPU, CPU = RELEASES["0.33.0"], RELEASES["0.32.0"]
CAPABILITIES = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]

AWQ = {"bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"bits": 4, "group_size": 128, "desc_act": False, "sym": True}


def compressed(weights: dict[str, Any], inputs: dict[str, Any] | None = None, **block: Any) -> dict[str, Any]:
    return {"config_groups": {"group_0": {"weights": weights, "input_activations": inputs}}, **block}


INT4 = compressed({"type": "int", "num_bits": 4, "group_size": 128}, format="pack-quantized")
INT8 = compressed({"type": "int", "num_bits": 8}, {"type": "int", "num_bits": 8}, format="int-quantized")
CT_FP8 = compressed({"type": "float", "num_bits": 8}, {"type": "float", "num_bits": 8})
CT_NVFP4 = compressed({"type": "float", "num_bits": 4, "group_size": 16})
CT_MXFP4 = compressed({"type": "float", "num_bits": 4, "group_size": 32})
CT_MXFP8 = compressed({"type": "float", "num_bits": 8, "group_size": 32, "scale_dtype": "torch.uint8"})
SIDECAR = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "nvfp4"}}
W4A8 = compressed({"type": "int", "num_bits": 4, "group_size": 128}, {"type": "float", "num_bits": 8})


def refusal(
    method: str, block: dict[str, Any], capability: tuple[int, int] = (9, 0), dtype: str | None = None
) -> str | None:
    return why_not_served(method, block, release=GPU, capability=capability, dtype=dtype)


# Where a method is served, and where it is served weight-only.
@pytest.mark.parametrize(
    ("method", "block", "served", "weight_only"),
    [
        ("awq", AWQ, CAPABILITIES, []),
        ("gptq", GPTQ, CAPABILITIES, []),
        ("auto-round", {}, CAPABILITIES, []),
        ("moe_wna16", {}, CAPABILITIES, []),
        ("compressed-tensors", INT4, CAPABILITIES, []),
        ("compressed-tensors", INT8, CAPABILITIES[:5], []),
        ("compressed-tensors", W4A8, [(9, 0)], []),
        ("compressed-tensors", CT_FP8, CAPABILITIES, CAPABILITIES[:3]),
        ("compressed-tensors", CT_NVFP4, CAPABILITIES, CAPABILITIES[:5]),
        ("compressed-tensors", CT_MXFP4, CAPABILITIES[1:], CAPABILITIES[1:5]),
        ("compressed-tensors", CT_MXFP8, CAPABILITIES[1:], CAPABILITIES[1:5]),
        ("fp8", {}, CAPABILITIES, CAPABILITIES[:3]),
        ("modelopt", {"quant_algo": "FP8"}, CAPABILITIES[1:], CAPABILITIES[1:3]),
        ("modelopt", SIDECAR, CAPABILITIES, CAPABILITIES[:5]),
        ("modelopt", {"quant_algo": "MXFP8"}, CAPABILITIES[1:], CAPABILITIES[1:5]),
        ("modelopt", {"quant_algo": "MIXED_PRECISION"}, CAPABILITIES, []),
        ("deepseek_v4_fp8", {}, CAPABILITIES[4:], []),
        ("mxfp4", {}, CAPABILITIES[1:], []),
        ("mxfp8", {}, CAPABILITIES[1:], CAPABILITIES[1:5]),
        ("experts_int8", {}, CAPABILITIES[1:], []),
        ("quark", {}, CAPABILITIES, []),
        ("torchao", {}, CAPABILITIES, []),
        ("humming", {}, CAPABILITIES, []),
        ("fbgemm_fp8", {}, [], []),
        ("fp_quant", {}, [], []),
    ],
)
def test_where_a_method_is_served(
    method: str, block: dict[str, Any], served: list[tuple[int, int]], weight_only: list[tuple[int, int]]
) -> None:
    assert [capability for capability in CAPABILITIES if refusal(method, block, capability) is None] == served
    unpacked = [c for c in served if is_weight_only(method, block, release=GPU, capability=c)]
    assert unpacked == weight_only


def test_rows_contradict_neither_themselves_nor_the_release() -> None:
    for name, scheme in RELEASES["0.33.0"].schemes.items():
        assert scheme.capability >= GPU.minimum_capability, name
        assert scheme.below is None or scheme.below > scheme.capability, name
        assert all(start < end and end > scheme.capability for start, end in scheme.native), name
        assert "bfloat16" in scheme.dtypes, name
        assert scheme.source, name


@pytest.mark.parametrize(
    ("method", "block", "reason"),
    [
        ("awq", AWQ | {"bits": 3}, "AWQ is served with 4 bits only, this checkpoint has 3"),
        ("awq", {"w_bit": 8, "zero_point": True}, "AWQ is served with 4 bits only, this checkpoint has 8"),
        ("awq", {"bits": 4}, "does not state `zero_point`"),
        ("awq", AWQ | {"version": "GEMV"}, "AWQ is served as version gemm only"),
        ("gptq", GPTQ | {"checkpoint_format": "marlin"}, "repacked for Marlin"),
        ("gptq", GPTQ | {"bits": 3}, "GPTQ is served with 4 or 8 bits only, this checkpoint has 3"),
        ("gptq", GPTQ | {"sym": False}, "asymmetric GPTQ"),
        ("gptq", GPTQ | {"desc_act": True}, "activation ordering over groups (`desc_act: true`"),
        ("gptq", GPTQ | {"dynamic": {"+:.*": {"desc_act": True}}}, "a rule of `dynamic`"),
        ("gptq", {"bits": 4, "group_size": 128}, "does not state `sym` and `desc_act`"),
        ("hqq", {}, "does not know the quantization method `hqq`"),
        ("exl2", {}, "does not know the quantization method `exl2`"),
        ("bitsandbytes", {}, "only with the plugin vllm-bnb-plugin"),
        ("gguf", {}, "only with the plugin vllm-gguf-plugin"),
        ("fbgemm_fp8", {}, "refuses it without `--allow-deprecated-quantization`"),
        ("modelopt", {"quant_algo": "W2A2"}, "`modelopt W2A2`"),
        ("modelopt", {"quantization": {"quant_algo": "NVFP4"}}, "does not name modelopt as its producer"),
        ("modelopt", {}, "`modelopt without quant_algo`"),
        ("compressed-tensors", compressed({"type": "float", "num_bits": 6}), "6-bit float"),
        ("compressed-tensors", {"config_groups": {}}, "`compressed-tensors`"),
    ],
)
def test_what_is_refused_on_every_gpu(method: str, block: dict[str, Any], reason: str) -> None:
    for capability in CAPABILITIES:
        assert reason in str(refusal(method, block, capability))


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_without_groups_may_order_activations(bits: int) -> None:
    assert refusal("gptq", GPTQ | {"bits": bits, "desc_act": True, "group_size": -1}) is None


def test_microscaling_formats_take_bfloat16_only() -> None:
    assert "bfloat16 activations only, here they are float16" in str(refusal("mxfp4", {}, dtype="float16"))
    assert refusal("mxfp4", {}, dtype="bfloat16") is None
    assert refusal("awq", AWQ, dtype="float16") is None


def test_one_bad_group_refuses_the_checkpoint() -> None:
    groups = {"a": CT_FP8["config_groups"]["group_0"], "b": CT_MXFP4["config_groups"]["group_0"]}
    assert schemes_of("compressed-tensors", {"config_groups": groups}) == ("ct-fp8", "ct-mxfp4")
    assert "MXFP4 needs compute capability 8.0" in str(refusal("compressed-tensors", {"config_groups": groups}, (7, 5)))


def test_the_cpu_build_has_fewer_kernels() -> None:
    def here(method: str, block: dict[str, Any]) -> str | None:
        return why_not_served(method, block, release=CPU, capability=None, dtype="bfloat16")

    assert here("awq", AWQ) is None
    assert here("gptq", GPTQ) is None
    assert here("fp8", {}) == "vLLM 0.32.0 has no fp8 kernels for the CPU"
    assert here("hqq", {}) == "vLLM 0.32.0 does not know the quantization method `hqq`"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["bits", "w_bit", "group_size", "sym", "desc_act", "dynamic", "zero_point", "config_groups", "quant_algo",
     "quantization", "weights", "input_activations", "type", "num_bits", "format", "scale_dtype", "weight_block_size"]
)  # fmt: skip
blocks = st.dictionaries(keys, json_values | st.dictionaries(keys, json_values | st.dictionaries(keys, json_values)))


@examples(6)
@given(st.sampled_from(["awq", "gptq", "compressed-tensors", "modelopt", "fp8", "mxfp4", "\x1b[2J"]), blocks)
def test_no_block_of_a_stranger_stops_the_judge(method: str, block: dict[str, Any]) -> None:
    for capability in CAPABILITIES:
        reason = refusal(method, block, capability, "float16")
        assert reason is None or len(reason) < 400


@examples(6)
@given(st.sampled_from(["awq", "gptq", "compressed-tensors", "fp8", "unknown"]), blocks)
def test_no_block_of_a_stranger_stops_the_layout(method: str, block: dict[str, Any]) -> None:
    try:
        quantization = read_quantization(method, block)
    except ConfigError:
        return
    assert quantization is not None
    packings = [packing for packing in (quantization.linear, quantization.experts) if packing is not None]
    assert all(packing.group_size is None or packing.group_size > 0 for packing in packings)
