"""Which rows of the engine's table a checkpoint's quantization block asks for, read as vLLM 0.33.0 reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# quant_method → row, where the block's other fields do not matter
# (vllm/model_executor/layers/quantization/__init__.py and each class's override_quantization_method).
_ROWS = {
    "awq": "awq",
    "auto_awq": "awq",
    "awq_marlin": "awq",
    "gptq": "gptq",
    "auto_gptq": "gptq",
    "gptq_marlin": "gptq",
    "auto-round": "inc",
    "gpt_oss_mxfp4": "mxfp4",
}
# ModelOpt's quant_algo → row (modelopt.py:LINEAR_ALGOS).
_MODELOPT = {
    "FP8": "modelopt",
    "FP8_PER_CHANNEL_PER_TOKEN": "modelopt",
    "FP8_PB_WO": "modelopt",
    "NVFP4": "modelopt_fp4",
    "W4A16_NVFP4": "modelopt_fp4",
    "MXFP8": "mxfp8",
    "MIXED_PRECISION": "modelopt_mixed",
}

_BYTE, _NIBBLE = 8, 4
_NVFP4_GROUP, _MX_GROUP = 16, 32
_LONGEST = 40


def schemes_of(method: str, block: Mapping[str, Any]) -> tuple[str, ...]:
    """Rows of the table, one for each way in which the checkpoint stores weights.

    A name that is no row of any table is the method itself, so that a refusal can name it.

    Args:
        method: as the checkpoint spells it, in lower case.
        block: the checkpoint's own quantization block.
    """
    if method == "compressed-tensors":
        return tuple(dict.fromkeys(_compressed(block))) or (method,)
    if method.startswith("modelopt"):
        return (_modelopt(method, block),)
    return (_ROWS.get(method, method[:_LONGEST]),)


def _modelopt(method: str, block: Mapping[str, Any]) -> str:
    """config.json holds the algorithm directly, the sidecar file below `quantization`."""
    inner = block.get("quantization")
    algorithm = (inner if isinstance(inner, Mapping) else block).get("quant_algo")
    if not isinstance(algorithm, str):
        return f"{method[:_LONGEST]} without quant_algo"
    return _MODELOPT.get(algorithm.upper(), f"modelopt {algorithm[:_LONGEST]}")


def _compressed(block: Mapping[str, Any]) -> Iterator[str]:
    """In the order of compressed_tensors.py:_get_scheme_from_parts."""
    groups = block.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
            inputs = group.get("input_activations")
            yield _compressed_group(group["weights"], inputs if isinstance(inputs, Mapping) else {})


def _compressed_group(weights: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    kind, bits, size = weights.get("type", "int"), weights.get("num_bits", _BYTE), weights.get("group_size")
    if kind == "float" and bits == _NIBBLE:
        if size == _NVFP4_GROUP:
            return "ct-nvfp4"
        return "ct-mxfp4" if size == _MX_GROUP else "compressed-tensors 4-bit float"
    if kind == "float" and bits == _BYTE:
        return "ct-mxfp8" if size == _MX_GROUP and "uint8" in str(weights.get("scale_dtype")) else "ct-fp8"
    if kind == "int" and not inputs:
        return "wna16"
    if kind == "int" and bits == _NIBBLE and inputs.get("type") == "float":
        return "w4a8-fp8"
    if kind == "int" and bits == _BYTE and inputs.get("num_bits") == _BYTE:
        return "int8"
    return f"compressed-tensors {str(bits)[:8]}-bit {str(kind)[:8]} with quantized activations"
