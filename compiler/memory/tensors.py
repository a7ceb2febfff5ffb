"""The tensors that a checkpoint of a dense decoder holds, derived from config.json where no header could be read.

Names and shapes are those of transformers and of the quantizers' files: AutoAWQ, AutoGPTQ, compressed-tensors, FP8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.lock.models import TensorKind
from compiler.memory.architecture import Architecture, ConfigError


class UnknownLayoutError(ConfigError):
    """A quantization whose tensors stackc cannot lay out, although an engine may run it."""


_LARGEST_GROUP = 65536
_SAFETENSORS = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


@dataclass(frozen=True, slots=True)
class Linear:
    """A projection of each layer: `out` × `inputs` weights."""

    name: str
    out: int
    inputs: int
    bias: bool


@dataclass(frozen=True, slots=True)
class Packing:
    """How a quantizer stores a linear layer.

    Attributes:
        style: `awq`, `gptq`, `pack-quantized` (compressed-tensors integers below 8 bits), `int8` or `fp8`.
        bits: per weight.
        group_size: inputs that share a scale; None for one scale per output channel.
        block: rows and columns that share a scale (FP8 block checkpoints); None otherwise.
        attention_scales: scalars in the served dtype that the engine adds to each attention layer
            (vllm/model_executor/layers/quantization/kv_cache.py:BaseKVCacheMethod, 0.33.0).
    """

    style: str
    bits: int
    group_size: int | None
    block: tuple[int, int] | None = None
    attention_scales: int = 0


def linears(architecture: Architecture) -> tuple[Linear, ...]:
    """The projections of one layer, in the order of the forward pass."""
    a = architecture
    q, kv = a.num_attention_heads * a.head_dim, a.num_kv_heads * a.head_dim
    return (
        Linear("self_attn.q_proj", q, a.hidden_size, a.qkv_bias),
        Linear("self_attn.k_proj", kv, a.hidden_size, a.qkv_bias),
        Linear("self_attn.v_proj", kv, a.hidden_size, a.qkv_bias),
        Linear("self_attn.o_proj", a.hidden_size, q, a.attention_bias and a.family.qkv_bias is None),
        Linear("mlp.gate_proj", a.intermediate_size, a.hidden_size, a.mlp_bias),
        Linear("mlp.up_proj", a.intermediate_size, a.hidden_size, a.mlp_bias),
        Linear("mlp.down_proj", a.hidden_size, a.intermediate_size, a.mlp_bias),
    )


def expected_tensors(architecture: Architecture, packing: Packing | None) -> tuple[TensorKind, ...]:
    """Every kind of tensor that the checkpoint should hold."""
    a, dtype = architecture, _SAFETENSORS[architecture.checkpoint_dtype]
    kinds = [TensorKind(name="model.embed_tokens.weight", dtype=dtype, shape=(a.vocab_size, a.hidden_size), count=1)]
    if not a.tie_word_embeddings:
        kinds.append(TensorKind(name="lm_head.weight", dtype=dtype, shape=(a.vocab_size, a.hidden_size), count=1))
    kinds.append(TensorKind(name="model.norm.weight", dtype=dtype, shape=(a.hidden_size,), count=1))
    for suffix, size in _norms(a):
        kinds.append(_per_layer(a, f"{suffix}.weight", dtype, (size,)))
    for linear in linears(a):
        kinds.extend(_per_layer(a, name, kind, shape) for name, kind, shape in _stored(linear, packing, dtype))
        if linear.bias:
            kinds.append(_per_layer(a, f"{linear.name}.bias", dtype, (linear.out,)))
    return tuple(kinds)


def _norms(a: Architecture) -> Iterator[tuple[str, int]]:
    yield "input_layernorm", a.hidden_size
    yield "post_attention_layernorm", a.hidden_size
    if a.family.qk_norm:
        yield "self_attn.q_norm", a.head_dim
        yield "self_attn.k_norm", a.head_dim


def _per_layer(a: Architecture, name: str, dtype: str, shape: tuple[int, ...]) -> TensorKind:
    return TensorKind(name=f"model.layers.*.{name}", dtype=dtype, shape=shape, count=a.num_layers)


def _stored(linear: Linear, packing: Packing | None, dtype: str) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    name, out, inputs = linear.name, linear.out, linear.inputs
    if packing is None:
        yield f"{name}.weight", dtype, (out, inputs)
        return
    groups = 1 if packing.group_size is None else math.ceil(inputs / packing.group_size)
    per_word = 32 // packing.bits
    if packing.style == "awq":
        yield f"{name}.qweight", "I32", (inputs, out // per_word)
        yield f"{name}.qzeros", "I32", (groups, out // per_word)
        yield f"{name}.scales", "F16", (groups, out)
    elif packing.style == "gptq":
        yield f"{name}.qweight", "I32", (inputs // per_word, out)
        yield f"{name}.qzeros", "I32", (groups, out // per_word)
        yield f"{name}.scales", "F16", (groups, out)
        yield f"{name}.g_idx", "I32", (inputs,)
    elif packing.style == "pack-quantized":
        yield f"{name}.weight_packed", "I32", (out, inputs // per_word)
        yield f"{name}.weight_scale", dtype, (out, groups)
        yield f"{name}.weight_shape", "I64", (2,)
    elif packing.style == "int8":
        yield f"{name}.weight", "I8", (out, inputs)
        yield f"{name}.weight_scale", dtype, (out, 1)
    else:
        yield from _fp8(linear, packing, dtype)


def _fp8(linear: Linear, packing: Packing, dtype: str) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    yield f"{linear.name}.weight", "F8_E4M3", (linear.out, linear.inputs)
    if packing.block is not None:
        rows, columns = packing.block
        shape = (math.ceil(linear.out / rows), math.ceil(linear.inputs / columns))
        yield f"{linear.name}.weight_scale_inv", "F32", shape
    else:
        yield f"{linear.name}.weight_scale", dtype, (linear.out, 1)


def read_packing(method: str | None, quantization: Mapping[str, Any] | None) -> Packing | None:
    """How the checkpoint's quantization block says that weights are stored; None if it is unquantized.

    Args:
        method: as the engine spells it (compiler/lock/quantization.py:checkpoint_format).
        quantization: the block itself.

    Raises:
        UnknownLayoutError: a method without a layout here.
        ConfigError: a block that is malformed.
    """
    if quantization is None or method is None:
        return None
    if method in ("awq", "gptq"):
        return _integer_packing(quantization, method)
    if method == "fp8":
        return _fp8_packing(quantization)
    if method == "compressed-tensors":
        return _compressed_packing(quantization)
    raise UnknownLayoutError(f"quantization method `{method[:40]}` has no layout that stackc knows")


def _integer_packing(block: Mapping[str, Any], style: str) -> Packing:
    bits = block.get("bits", block.get("w_bit"))
    group = block.get("group_size", block.get("q_group_size"))
    if bits not in (2, 3, 4, 8):
        raise ConfigError(f"quantization `bits` must be 2, 3, 4 or 8, not {str(bits)[:40]}")
    if not isinstance(group, int) or isinstance(group, bool) or not (group == -1 or 0 < group <= _LARGEST_GROUP):
        raise ConfigError(f"quantization `group_size` must be -1 or a positive number, not {str(group)[:40]}")
    return Packing(style, int(bits), None if group == -1 else group)


_ATTENTION_SCALES = 4


def _fp8_packing(block: Mapping[str, Any]) -> Packing:
    size = block.get("weight_block_size")
    if size is None:
        return Packing("fp8", 8, None, attention_scales=_ATTENTION_SCALES)
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):  # noqa: PLR2004
        raise ConfigError("quantization `weight_block_size` must be two positive numbers")
    return Packing("fp8", 8, None, block=(size[0], size[1]), attention_scales=_ATTENTION_SCALES)


def _compressed_packing(block: Mapping[str, Any]) -> Packing:
    groups = block.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise ConfigError("quantization `config_groups` must hold a group")
    if len(groups) > 1:
        raise UnknownLayoutError("compressed-tensors with several groups has no layout that stackc knows")
    group = next(iter(groups.values()))
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping):
        raise ConfigError("quantization `config_groups.*.weights` is missing")
    bits, size = weights.get("num_bits"), _compressed_group_size(weights)
    scales = _ATTENTION_SCALES
    if weights.get("type") == "float" and bits == 8 and not size:  # noqa: PLR2004
        return Packing("fp8", 8, None, attention_scales=scales)
    if weights.get("type") != "int" or bits not in (4, 8):
        grouped = f" in groups of {str(size)[:20]}" if size else ""
        scheme = f"{str(weights.get('type'))[:20]} {str(bits)[:20]} bit{grouped}"
        raise UnknownLayoutError(f"quantization scheme {scheme} has no layout that stackc knows")
    if not weights.get("symmetric", True):
        raise UnknownLayoutError("asymmetric compressed-tensors weights have no layout that stackc knows")
    if bits == 4 and group.get("input_activations"):  # noqa: PLR2004
        raise UnknownLayoutError("4-bit weights with quantized activations have no layout that stackc knows")
    if bits == 8 and not size and group.get("input_activations"):  # noqa: PLR2004
        return Packing("int8", 8, None, attention_scales=scales)
    return Packing("pack-quantized", int(bits), size, attention_scales=scales)


def _compressed_group_size(weights: Mapping[str, Any]) -> int | None:
    size = weights.get("group_size")
    if size in (None, 0, -1):
        return None
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= _LARGEST_GROUP:
        raise ConfigError(f"quantization `group_size` must be a positive number, not {str(size)[:40]}")
    return size
