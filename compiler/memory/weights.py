"""Bytes of parameters on one tensor-parallel rank, as vLLM lays them out before any repacking.

Which dimension is split follows the module, how a parameter is stored follows its suffix
(vllm/model_executor/layers/linear.py, vocab_parallel_embedding.py and quantization/ of 0.33.0).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from compiler.lock.models import TensorKind
from compiler.memory.architecture import Architecture, ConfigError
from compiler.memory.tensors import Linear, Packing, linears

VOCAB_PADDING = 64  # vllm/model_executor/layers/vocab_parallel_embedding.py:DEFAULT_VOCAB_PADDING_SIZE

_COLUMN = {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "qkv_proj", "gate_up_proj"}
_KEY_VALUE = {"k_proj", "v_proj"}
_ROW = {"o_proj", "down_proj"}
_VOCAB = {"embed_tokens", "lm_head"}

# Which dimension of a parameter runs over outputs and which over inputs; None where it has no such dimension.
_DIMENSIONS: dict[str, tuple[int | None, int | None]] = {
    "weight": (0, 1),
    "bias": (0, None),
    "qweight": (1, 0),
    "qzeros": (1, 0),
    "scales": (1, 0),
    "weight_packed": (0, 1),
    "weight_scale": (0, 1),
    "weight_scale_inv": (0, 1),
    "weight_zero_point": (0, 1),
}

# Read while loading and not kept, or a handful of bytes that is.
_NOT_KEPT = {"g_idx", "weight_shape", "rotary_emb", "inv_freq"}

_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
_FLOATS = {"F64", "F32", "F16", "BF16"}
_SERVED_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


class SplitError(ValueError):
    """The model cannot be split over that many ranks; vLLM would refuse to start."""


def rank_weights(
    kinds: Iterable[TensorKind],
    architecture: Architecture,
    packing: Packing | None,
    *,
    tensor_parallel_size: int,
    served_dtype: str,
) -> int:
    """Bytes of all parameters on one rank.

    Args:
        kinds: tensors of the checkpoint, from its headers or derived from its config.
        architecture, packing: of the same checkpoint.
        tensor_parallel_size: must be legal; see `check_split`.
        served_dtype: what unquantized tensors are loaded as.
    """
    scales = packing.attention_scales if packing is not None else 0
    total = architecture.num_layers * scales * _SERVED_BYTES[served_dtype]
    for kind in kinds:
        size = _rank_elements(kind, architecture, tensor_parallel_size) * _element_bytes(kind, served_dtype)
        total += kind.count * size
    return total


def second_head_bytes(
    kinds: Iterable[TensorKind], architecture: Architecture, *, tensor_parallel_size: int, served_dtype: str
) -> int:
    """Bytes of an lm_head in a checkpoint whose config ties it to the embeddings; `rank_weights` leaves it out.

    vLLM loads it and gives it up only if it equals the embeddings (vllm/model_executor/model_loader/weight_tying.py).
    """
    untied = dataclasses.replace(architecture, tie_word_embeddings=False)
    heads = [kind for kind in kinds if architecture.tie_word_embeddings and _module(kind) == "lm_head"]
    return rank_weights(heads, untied, None, tensor_parallel_size=tensor_parallel_size, served_dtype=served_dtype)


def check_tensors(kinds: Iterable[TensorKind]) -> None:
    """Refuse tensors that no arithmetic here can follow.

    Raises:
        ConfigError: a dtype that is not known, or an embedding that is no table.
    """
    for kind in kinds:
        if kind.dtype not in _BYTES:
            raise ConfigError(f"tensor `{kind.name}` has dtype {kind.dtype}, which is not known")
        if (
            _module(kind) in _VOCAB
            and kind.name.endswith(".weight")
            and (len(kind.shape) != _TABLE or not kind.shape[0])
        ):
            raise ConfigError(f"tensor `{kind.name}` should be a table, its shape is {list(kind.shape)}")


_TABLE = 2


def _module(kind: TensorKind) -> str:
    return kind.name.rpartition(".")[0].rpartition(".")[2]


def _element_bytes(kind: TensorKind, served_dtype: str) -> int:
    # Scales of FP8 checkpoints stay float32; every other floating-point tensor takes the served dtype.
    keeps_dtype = kind.name.endswith(("weight_scale_inv", "input_scale")) or kind.dtype not in _FLOATS
    return _BYTES[kind.dtype] if keeps_dtype else _SERVED_BYTES[served_dtype]


def _rank_elements(kind: TensorKind, architecture: Architecture, ranks: int) -> int:
    module, suffix = _module(kind), kind.name.rpartition(".")[2]
    if suffix in _NOT_KEPT or (module == "lm_head" and architecture.tie_word_embeddings):
        return 0
    elements = math.prod(kind.shape)
    if module in _VOCAB and suffix == "weight":
        rows = math.ceil(kind.shape[0] / VOCAB_PADDING) * VOCAB_PADDING
        return elements // kind.shape[0] * rows // ranks
    if suffix not in _DIMENSIONS:
        return elements
    out, inputs = _DIMENSIONS[suffix]
    if module in _COLUMN and out is not None and _is_split(kind, out):
        return elements // (min(ranks, architecture.num_kv_heads) if module in _KEY_VALUE else ranks)
    if module in _ROW and inputs is not None and _is_split(kind, inputs):
        return elements // ranks
    return elements


def _is_split(kind: TensorKind, dimension: int) -> bool:
    # A scale of shape [] or [1], or [out, 1], has nothing to split along its inputs.
    return dimension < len(kind.shape) and kind.shape[dimension] > 1


def check_split(architecture: Architecture, packing: Packing | None, ranks: int) -> None:
    """Refuse a tensor-parallel size that vLLM refuses.

    Raises:
        SplitError: with the numbers that do not divide.
    """
    heads, kv_heads = architecture.num_attention_heads, architecture.num_kv_heads
    if heads % ranks:
        raise SplitError(f"{heads} attention heads do not divide by {ranks}")
    if kv_heads % ranks and ranks % kv_heads:
        raise SplitError(f"{kv_heads} KV heads and {ranks} ranks do not divide each other")
    padded = math.ceil(architecture.vocab_size / VOCAB_PADDING) * VOCAB_PADDING
    if padded % ranks:
        raise SplitError(f"the vocabulary, padded to {padded}, does not divide by {ranks}")
    for linear in linears(architecture):
        _check_linear(linear, packing, ranks, kv_heads)


def _check_linear(linear: Linear, packing: Packing | None, ranks: int, kv_heads: int) -> None:
    name = linear.name.rpartition(".")[2]
    if name in _COLUMN:
        parts = min(ranks, kv_heads) if name in _KEY_VALUE else ranks
        unit = _output_unit(packing)
        if linear.out % (parts * unit):
            raise SplitError(f"{name} has {linear.out} outputs, no multiple of {parts} ranks × {unit}")
        return
    unit = _input_unit(packing)
    if linear.inputs % (ranks * unit):
        raise SplitError(f"{name} has {linear.inputs} inputs, no multiple of {ranks} ranks × group {unit}")


def _output_unit(packing: Packing | None) -> int:
    if packing is None:
        return 1
    if packing.block is not None:
        return packing.block[0]
    return 32 // packing.bits if packing.style in ("awq", "gptq") else 1


def _input_unit(packing: Packing | None) -> int:
    if packing is None:
        return 1
    if packing.block is not None:
        return packing.block[1]
    return packing.group_size or 1
