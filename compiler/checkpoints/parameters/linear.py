"""Tensors of a projection in the checkpoint and in the engine, for each way of packing weights.

The engine's side is what `create_weights` registers in vllm/model_executor/layers/quantization/ of 0.33.0, before any
repacking; the checkpoint's side is what the quantizers' files hold. Splits that those functions refuse are refused
here, with their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import SplitError
from compiler.checkpoints.quantization.formats import Packing

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


@dataclass(frozen=True, slots=True)
class Projections:
    """Projections that share their inputs and that the engine holds as one module, on one rank.

    Attributes:
        name: for messages.
        outputs: of each of them.
        inputs: of all.
        output_ranks, input_ranks: over how many ranks outputs and inputs are divided.
    """

    name: str
    outputs: tuple[int, ...]
    inputs: int
    output_ranks: int = 1
    input_ranks: int = 1

    @property
    def rows(self) -> int:
        """All outputs."""
        return sum(self.outputs)

    def require_inputs(self, unit: int) -> None:
        """Refuse inputs that are no multiple of a unit."""
        if self.inputs % unit:
            whole = self.inputs * self.input_ranks
            raise SplitError(f"{self.name} has {whole} inputs, no multiple of {self.input_ranks} ranks × group {unit}")

    def require_outputs(self, outputs: int, unit: int) -> None:
        """Refuse outputs that are no multiple of a unit."""
        if outputs % unit:
            whole = outputs * self.output_ranks
            raise SplitError(f"{self.name} has {whole} outputs, no multiple of {self.output_ranks} ranks × {unit}")


def linear_parameters(projections: Projections, packing: Packing | None) -> tuple[Parameter, ...]:
    """Of a linear module on this rank, without its bias.

    Raises:
        SplitError: the packing does not divide over so many ranks.
    """
    if packing is None:
        return (Parameter("weight", (projections.rows, projections.inputs)),)
    if packing.style not in _LINEAR:
        raise ConfigError(f"quantization {packing.style} of linear modules has no layout that stackc knows")
    return tuple(_LINEAR[packing.style](projections, packing))


def _groups(projections: Projections, packing: Packing) -> int:
    """Groups of inputs on this rank, which no rank may share with another."""
    if packing.group_size is None or packing.group_size >= projections.inputs * projections.input_ranks:
        return 1
    projections.require_inputs(packing.group_size)
    return projections.inputs // packing.group_size


def _awq(of: Projections, packing: Packing) -> Iterator[Parameter]:
    per_word = 32 // packing.bits
    of.require_inputs(packing.group_size or of.inputs * of.input_ranks)
    of.require_outputs(of.rows, per_word)
    groups = _groups(of, packing)
    yield Parameter("qweight", (of.inputs, of.rows // per_word), "I32")
    yield Parameter("qzeros", (groups, of.rows // per_word), "I32")
    yield Parameter("scales", (groups, of.rows), stored_dtype="F16")


def _gptq(of: Projections, packing: Packing) -> Iterator[Parameter]:
    per_word, groups = 32 // packing.bits, _groups(of, packing)
    yield Parameter("qweight", (of.inputs // per_word, of.rows), "I32")
    yield Parameter("qzeros", (groups, of.rows // per_word), "I32")
    yield Parameter("scales", (groups, of.rows), stored_dtype="F16")
    yield Parameter("g_idx", (of.inputs,), "I32", loaded=False)


def _wna16(of: Projections, packing: Packing) -> Iterator[Parameter]:
    groups = _groups(of, packing)
    yield Parameter("weight_packed", (of.rows, math.ceil(of.inputs * packing.bits / 32)), "I32")
    yield Parameter("weight_scale", (of.rows, groups))
    yield Parameter("weight_shape", (2,), "I64")
    if not packing.symmetric:
        yield Parameter("weight_zero_point", (math.ceil(of.rows * packing.bits / 32), groups), "I32")


def _int8(of: Projections, packing: Packing) -> Iterator[Parameter]:
    yield Parameter("weight", (of.rows, of.inputs), "I8")
    yield Parameter("weight_scale", (of.rows, 1) if packing.per_channel else (len(of.outputs),), "F32")
    if packing.static_activations:
        yield Parameter("input_scale", (1,), "F32")
        if not packing.symmetric:
            yield Parameter("input_zero_point", (1,), "I8")


def _fp8(of: Projections, packing: Packing) -> Iterator[Parameter]:
    """fp8.py and compressed_tensors_w8a8_fp8.py: alike but for the name of block scales."""
    yield Parameter("weight", (of.rows, of.inputs), "F8_E4M3")
    if packing.block is not None:
        rows, columns = packing.block
        if not _ends_anywhere(of, packing):
            _check_blocks(of, rows, columns)
        suffix = "weight_scale_inv" if packing.style == "fp8" else "weight_scale"
        yield Parameter(suffix, (math.ceil(of.rows / rows), math.ceil(of.inputs / columns)), packing.scale_dtype)
    elif packing.per_channel:
        yield Parameter("weight_scale", (of.rows, 1), "F32")
    else:
        yield Parameter("weight_scale", (len(of.outputs),), "F32")
    if packing.static_activations:
        yield Parameter("input_scale", (len(of.outputs),), "F32")


def _check_blocks(of: Projections, rows: int, columns: int) -> None:
    """utils/fp8_utils.py:validate_fp8_block_shape: of fused projections, only the last may end within a block."""
    if of.input_ranks > 1:
        of.require_inputs(columns)
    checked = of.outputs if of.output_ranks > 1 else of.outputs[:-1]
    for outputs in checked:
        of.require_outputs(outputs, rows)


def _ends_anywhere(of: Projections, packing: Packing) -> bool:
    """fp8.py lets fused projections end within blocks (linear.py:_maybe_allow_fp8_block_shape_mismatch)."""
    return packing.style == "fp8" and len(of.outputs) > 1


def _fp8_blocks_of_modelopt(of: Projections, packing: Packing) -> Iterator[Parameter]:
    rows, columns = packing.block or (1, 1)
    of.require_inputs(columns)
    yield Parameter("weight", (of.rows, of.inputs), "F8_E4M3")
    yield Parameter("weight_scale", (math.ceil(of.rows / rows), 1, of.inputs // columns, 1), "F32")


def _nvfp4(of: Projections, packing: Packing) -> Iterator[Parameter]:
    """modelopt.py; weight-only checkpoints get input scales too, in the served dtype."""
    of.require_inputs(16)
    yield Parameter("weight", (of.rows, of.inputs // 2), "U8")
    yield Parameter("weight_scale", (of.rows, of.inputs // (packing.group_size or 16)), "F8_E4M3")
    yield Parameter("weight_scale_2", (len(of.outputs),), "F32")
    yield Parameter("input_scale", (len(of.outputs),), "F32" if packing.static_activations else None)


def _ct_nvfp4(of: Projections, packing: Packing) -> Iterator[Parameter]:
    of.require_inputs(16)
    yield Parameter("weight_packed", (of.rows, of.inputs // 2), "U8")
    yield Parameter("weight_scale", (of.rows, of.inputs // (packing.group_size or 16)), "F8_E4M3")
    yield Parameter("weight_global_scale", (len(of.outputs),), "F32")
    if packing.static_activations:
        yield Parameter("input_global_scale", (len(of.outputs),), "F32")


def _ct_mxfp4(of: Projections, packing: Packing) -> Iterator[Parameter]:
    groups = _groups(of, packing)
    yield Parameter("weight_packed", (of.rows, of.inputs // 2), "U8")
    yield Parameter("weight_scale", (of.rows, groups), "U8")


def _mxfp8(of: Projections, packing: Packing) -> Iterator[Parameter]:
    of.require_inputs(packing.group_size or 32)
    yield Parameter("weight", (of.rows, of.inputs), "F8_E4M3")
    yield Parameter("weight_scale", (of.rows, of.inputs // (packing.group_size or 32)), "U8")


_Layout = Callable[[Projections, Packing], Iterator[Parameter]]

_LINEAR: dict[str, _Layout] = {
    "awq": _awq,
    "gptq": _gptq,
    "wna16": _wna16,
    "w4a8-fp8": _wna16,
    "int8": _int8,
    "fp8": _fp8,
    "ct-fp8": _fp8,
    "ct-fp8-weights": _fp8,
    "modelopt-fp8-block": _fp8_blocks_of_modelopt,
    "nvfp4": _nvfp4,
    "ct-nvfp4": _ct_nvfp4,
    "ct-mxfp4": _ct_mxfp4,
    "mxfp4": _ct_mxfp4,
    "gpt-oss-mxfp4": _ct_mxfp4,
    "mxfp8": _mxfp8,
}
