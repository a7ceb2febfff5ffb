"""The parameters that a module has on one rank, in the checkpoint and in the engine, for each way of packing weights.

The engine's side is what `create_weights` registers in vllm/model_executor/layers/quantization/ of 0.33.0, before any
repacking; the checkpoint's side is what the quantizers' files hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compiler.memory.config import ConfigError
from compiler.memory.packing import Packing

_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
_MXFP4_TILE = 128  # fused_moe/oracle/mxfp4.py:mxfp4_round_up_hidden_size_and_intermediate_size
SERVED_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def dtype_bytes(dtype: str) -> int:
    """Bytes of an element of a safetensors dtype.

    Raises:
        ConfigError: none that is known.
    """
    if dtype not in _BYTES:
        raise ConfigError(f"dtype {dtype} is not known")
    return _BYTES[dtype]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor.

    Attributes:
        suffix: of its name, after the module's.
        dtype: safetensors dtype; None for what the checkpoint is stored in and the model is served in.
        stored: whether the checkpoint holds it.
        loaded: whether the engine keeps it.
        stored_dtype: what the checkpoint holds, where that differs from what the engine makes of it.
    """

    suffix: str
    shape: tuple[int, ...]
    dtype: str | None = None
    stored: bool = True
    loaded: bool = True
    stored_dtype: str | None = None

    def loaded_bytes(self, served_dtype: str) -> int:
        """Bytes in the engine's memory."""
        if not self.loaded:
            return 0
        width = SERVED_BYTES[served_dtype] if self.dtype is None else dtype_bytes(self.dtype)
        return math.prod(self.shape) * width


def linear_parameters(outputs: int, inputs: int, packing: Packing | None) -> tuple[Parameter, ...]:
    """Of a projection that is `outputs` × `inputs` on this rank, without its bias."""
    if packing is None:
        return (Parameter("weight", (outputs, inputs)),)
    return tuple(_LINEAR[packing.style](outputs, inputs, packing))


def _groups(inputs: int, packing: Packing) -> int:
    return 1 if packing.group_size is None else math.ceil(inputs / packing.group_size)


def _awq(outputs: int, inputs: int, packing: Packing) -> Iterator[Parameter]:
    per_word, groups = 32 // packing.bits, _groups(inputs, packing)
    yield Parameter("qweight", (inputs, outputs // per_word), "I32")
    yield Parameter("qzeros", (groups, outputs // per_word), "I32")
    yield Parameter("scales", (groups, outputs), stored_dtype="F16")


def _gptq(outputs: int, inputs: int, packing: Packing) -> Iterator[Parameter]:
    per_word, groups = 32 // packing.bits, _groups(inputs, packing)
    yield Parameter("qweight", (inputs // per_word, outputs), "I32")
    yield Parameter("qzeros", (groups, outputs // per_word), "I32")
    yield Parameter("scales", (groups, outputs), stored_dtype="F16")
    yield Parameter("g_idx", (inputs,), "I32", loaded=False)


def _pack_quantized(outputs: int, inputs: int, packing: Packing) -> Iterator[Parameter]:
    yield Parameter("weight_packed", (outputs, inputs // (32 // packing.bits)), "I32")
    yield Parameter("weight_scale", (outputs, _groups(inputs, packing)))
    yield Parameter("weight_shape", (2,), "I64", loaded=False)


def _int8(outputs: int, inputs: int, packing: Packing) -> Iterator[Parameter]:
    del packing
    yield Parameter("weight", (outputs, inputs), "I8")
    yield Parameter("weight_scale", (outputs, 1))


def _fp8(outputs: int, inputs: int, packing: Packing) -> Iterator[Parameter]:
    yield Parameter("weight", (outputs, inputs), "F8_E4M3")
    if packing.block is not None:
        rows, columns = packing.block
        yield Parameter("weight_scale_inv", (math.ceil(outputs / rows), math.ceil(inputs / columns)), "F32")
        return
    yield Parameter("weight_scale", (1,), "F32")
    if packing.static_activations:
        yield Parameter("input_scale", (1,), "F32")


def _ct_fp8(outputs: int, inputs: int, packing: Packing) -> Iterator[Parameter]:
    yield Parameter("weight", (outputs, inputs), "F8_E4M3")
    yield Parameter("weight_scale", (outputs, 1))
    if packing.static_activations:
        yield Parameter("input_scale", (1,), "F32")


_Layout = Callable[[int, int, Packing], Iterator[Parameter]]

_LINEAR: dict[str, _Layout] = {
    "awq": _awq,
    "gptq": _gptq,
    "pack-quantized": _pack_quantized,
    "int8": _int8,
    "fp8": _fp8,
    "ct-fp8": _ct_fp8,
}


def expert_parameters(
    count: int, inputs: int, intermediate: int, *, gated: bool, packing: Packing | None
) -> tuple[Parameter, ...]:
    """Of the fused experts on this rank, without biases: `count` experts of width `intermediate` each."""
    up = intermediate * (2 if gated else 1)
    if packing is None:
        return (Parameter("w13_weight", (count, up, inputs)), Parameter("w2_weight", (count, inputs, intermediate)))
    return tuple(_EXPERTS[packing.style](count, inputs, intermediate, up, packing))


def _fp8_experts(count: int, inputs: int, intermediate: int, up: int, packing: Packing) -> Iterator[Parameter]:
    yield Parameter("w13_weight", (count, up, inputs), "F8_E4M3")
    yield Parameter("w2_weight", (count, inputs, intermediate), "F8_E4M3")
    if packing.block is not None:
        rows, columns = packing.block
        ups, parts = up // intermediate, math.ceil(intermediate / rows)
        yield Parameter("w13_weight_scale_inv", (count, ups * parts, math.ceil(inputs / columns)), "F32")
        yield Parameter(
            "w2_weight_scale_inv", (count, math.ceil(inputs / rows), math.ceil(intermediate / columns)), "F32"
        )
        return
    yield Parameter("w13_weight_scale", (count, up // intermediate), "F32")
    yield Parameter("w2_weight_scale", (count,), "F32")


def _mxfp4_experts(count: int, inputs: int, intermediate: int, up: int, packing: Packing) -> Iterator[Parameter]:
    """vllm/model_executor/layers/quantization/mxfp4.py: two values to a byte, a byte of scale for each group."""
    group = packing.group_size or 1
    width = math.ceil(intermediate / _MXFP4_TILE) * _MXFP4_TILE
    if inputs % (2 * _MXFP4_TILE):
        raise ConfigError(f"`hidden_size` {inputs} is no multiple of 256: how MXFP4 experts pad it depends on the GPU")
    up = up // intermediate * width
    yield Parameter("w13_weight", (count, up, inputs // 2), "U8")
    yield Parameter("w13_weight_scale", (count, up, inputs // group), "U8")
    yield Parameter("w2_weight", (count, inputs, width // 2), "U8")
    yield Parameter("w2_weight_scale", (count, inputs, width // group), "U8")


_ExpertLayout = Callable[[int, int, int, int, Packing], Iterator[Parameter]]

_EXPERTS: dict[str, _ExpertLayout] = {"fp8": _fp8_experts, "mxfp4": _mxfp4_experts}
