"""Tensors of a layer's fused experts on one rank, for each way of packing weights.

What `create_weights` of the MoE methods registers in vllm/model_executor/layers/quantization/ and
vllm/model_executor/layers/fused_moe of 0.33.0, before any repacking; padding is that of the kernels which those pick
on Hopper (fused_moe/oracle).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.linear import Parameter
from compiler.checkpoints.parameters.ranks import SplitError
from compiler.checkpoints.quantization.formats import Packing

_SMALLEST_FP8_BLOCK = 32
_MARLIN_GROUPS = (None, 32, 64, 128)
_SMALLEST_GROUP = 32


@dataclass(frozen=True, slots=True)
class ExpertShape:
    """Experts of one rank.

    Attributes:
        count: of experts.
        inputs, intermediate: widths of each.
        ups: projections side by side before the activation: gate and up, or up alone.
        bias: whether projections have biases.
        ranks: over which the width of each expert is divided.
    """

    count: int
    inputs: int
    intermediate: int
    ups: int = 2
    bias: bool = False
    ranks: int = 1

    @property
    def up(self) -> int:
        """Rows before the activation."""
        return self.ups * self.intermediate

    def require(self, unit: int) -> None:
        """Refuse a width that is no multiple of a unit."""
        if self.intermediate % unit:
            whole = self.intermediate * self.ranks
            raise SplitError(f"experts of width {whole} are no multiple of {self.ranks} ranks × group {unit}")


def expert_parameters(shape: ExpertShape, packing: Packing | None) -> tuple[Parameter, ...]:
    """Every tensor of the experts on this rank.

    Raises:
        SplitError: the packing does not divide over so many ranks.
    """
    if packing is None:
        return (*_weights(shape), *_biases(shape))
    if packing.style not in _EXPERTS:
        raise ConfigError(f"quantization {packing.style} of experts has no layout that stackc knows")
    return tuple(_EXPERTS[packing.style](shape, packing))


def _weights(of: ExpertShape, dtype: str | None = None, *, per_byte: int = 1, suffix: str = "") -> Iterator[Parameter]:
    yield Parameter(f"w13_weight{suffix}", (of.count, of.up, of.inputs // per_byte), dtype)
    yield Parameter(f"w2_weight{suffix}", (of.count, of.inputs, of.intermediate // per_byte), dtype)


def _scales(of: ExpertShape, dtype: str | None, size: int, suffix: str = "_weight_scale") -> Iterator[Parameter]:
    yield Parameter(f"w13{suffix}", (of.count, of.up, of.inputs // size), dtype)
    yield Parameter(f"w2{suffix}", (of.count, of.inputs, of.intermediate // size), dtype)


def _scalars(of: ExpertShape, suffix: str, ups: int) -> Iterator[Parameter]:
    yield Parameter(f"w13{suffix}", (of.count, ups), "F32")
    yield Parameter(f"w2{suffix}", (of.count,), "F32")


def _biases(of: ExpertShape, dtype: str | None = None) -> Iterator[Parameter]:
    if of.bias:
        yield Parameter("w13_bias", (of.count, of.up), dtype)
        yield Parameter("w2_bias", (of.count, of.inputs), dtype)


def _fp8(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    """fp8.py:Fp8MoEMethod, and modelopt.py:ModelOptFp8MoEMethod."""
    yield from _weights(of, "F8_E4M3")
    yield from _biases(of)
    if packing.block is None:
        yield from _scalars(of, "_weight_scale", of.ups)
    else:
        yield from _block_scales(of, *_block(of, packing.block), packing.scale_dtype, "_weight_scale_inv")
    if packing.static_activations:
        yield from _scalars(of, "_input_scale", 1)


def _block(of: ExpertShape, block: tuple[int, int]) -> tuple[int, int]:
    """Blocks are cut smaller where ranks do not divide them (oracle/fp8.py:refine_fp8_moe_block_shape)."""
    rows, columns = block
    if of.intermediate % rows == 0 and (of.ranks == 1 or of.intermediate % columns == 0):
        return block
    smaller = math.gcd(rows, columns, of.intermediate, of.inputs)
    if smaller < _SMALLEST_FP8_BLOCK:
        of.require(rows)
        of.require(columns)
    return smaller, smaller


def served_block(of: ExpertShape, packing: Packing) -> tuple[int, int] | None:
    """Rows and columns that share an FP8 scale on this rank; None where experts are not packed in blocks."""
    if packing.block is None or packing.style != "fp8":
        return packing.block
    return _block(of, packing.block)


def _block_scales(of: ExpertShape, rows: int, columns: int, dtype: str, suffix: str) -> Iterator[Parameter]:
    ups = of.ups * math.ceil(of.intermediate / rows)
    yield Parameter(f"w13{suffix}", (of.count, ups, math.ceil(of.inputs / columns)), dtype)
    downs = math.ceil(of.inputs / rows), math.ceil(of.intermediate / columns)
    yield Parameter(f"w2{suffix}", (of.count, *downs), dtype)


def _ct_fp8(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    """compressed_tensors_moe_w8a8_fp8.py; it makes no biases."""
    yield from _weights(of, "F8_E4M3")
    if packing.block is not None:
        rows, columns = packing.block
        of.require(rows)
        if of.ranks > 1:
            of.require(columns)
        yield from _block_scales(of, rows, columns, "F32", "_weight_scale")
    elif packing.per_channel:
        yield from _channel_scales(of)
    else:
        yield from _scalars(of, "_weight_scale", of.ups)
    if packing.static_activations:
        yield from _scalars(of, "_input_scale", 1)


def _channel_scales(of: ExpertShape) -> Iterator[Parameter]:
    yield Parameter("w13_weight_scale", (of.count, of.up, 1), "F32")
    yield Parameter("w2_weight_scale", (of.count, of.inputs, 1), "F32")


def _int8(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    if not packing.per_channel or packing.static_activations:
        raise ConfigError("quantization of experts to INT8 must be by channel, with dynamic activations")
    yield from _weights(of, "I8")
    yield from _biases(of)
    yield from _channel_scales(of)


def _nvfp4(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    """modelopt.py:ModelOptNvFp4FusedMoE; weight-only checkpoints get input scales too."""
    yield from _weights(of, "U8", per_byte=2)
    yield from _scales(of, "F8_E4M3", packing.group_size or 16)
    yield from _scalars(of, "_weight_scale_2", of.ups)
    yield from _scalars(of, "_input_scale", of.ups)


def _ct_nvfp4(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    yield from _weights(of, "U8", per_byte=2, suffix="_packed")
    yield from _scales(of, "F8_E4M3", packing.group_size or 16)
    yield from _scalars(of, "_weight_global_scale", of.ups)
    yield from _scalars(of, "_input_global_scale", of.ups)


def _ct_mxfp4(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    of.require(packing.group_size or 32)
    yield from _weights(of, "U8", per_byte=2, suffix="_packed")
    yield from _scales(of, "U8", packing.group_size or 32)


def _mxfp4(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    """mxfp4.py:Mxfp4MoEMethod."""
    yield from _padded_mxfp4(padded_for_marlin(of), packing)


def padded_for_marlin(of: ExpertShape) -> ExpertShape:
    """MXFP4 experts as the Marlin kernel wants them: multiples of 128 and 256."""
    return replace(of, inputs=_round_up(of.inputs, 256), intermediate=_round_up(of.intermediate, 128))


def _gpt_oss(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    """mxfp4.py:GptOssMxfp4MoEMethod, whose Triton kernel wants multiples of 64."""
    yield from _padded_mxfp4(replace(of, intermediate=_round_up(of.intermediate, 64)), packing)


def _padded_mxfp4(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    yield from _weights(of, "U8", per_byte=2)
    yield from _scales(of, "U8", packing.group_size or 32)
    yield from _biases(of, "BF16")


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _mxfp8(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    size = packing.group_size or 32
    if of.inputs % size:
        raise SplitError(f"experts have {of.inputs} inputs, no multiple of {size}")
    of.require(size)
    yield from _weights(of, "F8_E4M3")
    yield from _scales(of, "U8", size)


def _wna16(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    """compressed_tensors_moe_wna16.py; the shapes of weights are kept in the served dtype."""
    per_word, size = 32 // packing.bits, packing.group_size
    if size is not None:
        of.require(size)
        if of.inputs % size:
            raise SplitError(f"experts have {of.inputs} inputs, no multiple of group {size}")
    groups = (1, 1) if size is None else (of.inputs // size, of.intermediate // size)
    yield from _weights(of, "I32", per_byte=per_word, suffix="_packed")
    yield from _biases(of)
    yield Parameter("w13_weight_scale", (of.count, of.up, groups[0]))
    yield Parameter("w2_weight_scale", (of.count, of.inputs, groups[1]))
    yield Parameter("w13_weight_shape", (of.count, 2))
    yield Parameter("w2_weight_shape", (of.count, 2))
    if not packing.symmetric:
        yield Parameter("w13_weight_zero_point", (of.count, of.up // per_word, groups[0]), "I32")
        yield Parameter("w2_weight_zero_point", (of.count, of.inputs // per_word, groups[1]), "I32")


def _awq(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    if not marlin_runs(of, packing):
        yield from _moe_wna16(of, packing)
        return
    size, per_word = packing.group_size or of.inputs, 32 // packing.bits
    yield Parameter("w13_qweight", (of.count, of.inputs, of.up // per_word), "I32")
    yield Parameter("w2_qweight", (of.count, of.intermediate, of.inputs // per_word), "I32")
    yield from _grouped(of, packing, size)


def _gptq(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    """auto_gptq.py:AutoGPTQMoEMethod makes biases for every model."""
    if not marlin_runs(of, packing):
        yield from _moe_wna16(of, packing)
        return
    per_word = 32 // packing.bits
    yield Parameter("w13_qweight", (of.count, of.inputs // per_word, of.up), "I32")
    yield Parameter("w2_qweight", (of.count, of.intermediate // per_word, of.inputs), "I32")
    yield from _grouped(of, packing, packing.group_size)
    yield from _biases(replace(of, bias=True))


def _grouped(of: ExpertShape, packing: Packing, size: int | None) -> Iterator[Parameter]:
    ups, downs = (1, 1) if size is None else (of.inputs // size, of.intermediate // size)
    per_word = 32 // packing.bits
    yield Parameter("w13_scales", (of.count, ups, of.up))
    yield Parameter("w2_scales", (of.count, downs, of.inputs))
    yield Parameter("w13_qzeros", (of.count, ups, of.up // per_word), "I32")
    yield Parameter("w2_qzeros", (of.count, downs, of.inputs // per_word), "I32")


def marlin_runs(of: ExpertShape, packing: Packing) -> bool:
    """utils/marlin_utils.py:check_moe_marlin_supports_config."""
    fits = packing.group_size is None or of.intermediate % packing.group_size == 0
    return of.inputs % 128 == 0 and fits and packing.group_size in _MARLIN_GROUPS


def _moe_wna16(of: ExpertShape, packing: Packing) -> Iterator[Parameter]:
    """moe_wna16.py, which AWQ and GPTQ fall back to; groups are halved until they divide, and their scales repeated."""
    size, per_byte = packing.group_size or 0, 8 // packing.bits
    _check_last_group(of, size)
    while size and (of.intermediate % size or of.inputs % size):
        size //= 2
    if size < _SMALLEST_GROUP:
        of.require(_SMALLEST_GROUP)
        raise SplitError(f"experts have {of.inputs} inputs, no multiple of group {_SMALLEST_GROUP}")
    yield Parameter("w13_qweight", (of.count, of.up, of.inputs // per_byte), "U8")
    yield Parameter("w2_qweight", (of.count, of.inputs, of.intermediate // per_byte), "U8")
    yield from _scales(of, None, size, "_scales")
    if packing.style == "awq" and not packing.symmetric:
        yield Parameter("w13_qzeros", (of.count, of.up // per_byte, of.inputs // size), "U8")
        yield Parameter("w2_qzeros", (of.count, of.inputs // per_byte, of.intermediate // size), "U8")


def _check_last_group(of: ExpertShape, size: int) -> None:
    """A group that is cut short has scales of its own in the file, which repeated are more than the engine has."""
    for what, width in (("wide", of.intermediate * of.ranks), ("deep", of.inputs)):
        if size and width % size:
            groups = f"{width} = {width // size} × {size} + {width % size}"
            raise SplitError(
                f"experts are {width} {what}, no multiple of group {size}: {groups}, and vLLM loads no part"
            )


_Layout = Callable[[ExpertShape, Packing], Iterator[Parameter]]

_EXPERTS: dict[str, _Layout] = {
    "awq": _awq,
    "gptq": _gptq,
    "wna16": _wna16,
    "w4a8-fp8": _wna16,
    "int8": _int8,
    "fp8": _fp8,
    "ct-fp8": _ct_fp8,
    "nvfp4": _nvfp4,
    "ct-nvfp4": _ct_nvfp4,
    "ct-mxfp4": _ct_mxfp4,
    "mxfp4": _mxfp4,
    "gpt-oss-mxfp4": _gpt_oss,
    "mxfp8": _mxfp8,
}
