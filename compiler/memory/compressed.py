"""What DeepSeek V4 takes on one rank beside its parameters and its cache.

vllm/models/deepseek_v4 of 0.33.0: attention.py, common/rope.py, sparse_mla.py, nvidia/{model,flashmla,
flashinfer_sparse}.py. All figures are bytes, and 0 for every other model.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.memory.architecture import Architecture, Layer, PackedCache
from compiler.memory.kv_cache import KvLayout
from compiler.memory.latent import (
    aligned,
    indexer_logits_bytes,
    indexer_table_bytes,
    indexer_workspace_bytes,
)
from compiler.memory.layouts import SERVED_BYTES
from compiler.memory.shape import ServerShape
from compiler.units import MIB

_ROTARY = 64  # qk_rope_head_dim of every DeepSeek V4
_FLOAT, _INDEX = 4, 4
_CHUNK = 4  # attention.py:PREFILL_CHUNK_SIZE
_COLUMNS = 128  # _C128A_TOPK_ALIGNMENT, and what combined indices are rounded up to
_COUNTED = 128  # only for this ratio the picked entries are listed ahead
_FLASHINFER_WORKSPACE = 128 * MIB  # _FLASHINFER_DSV4_WORKSPACE_BUFFER_SIZE
_FLASHMLA_HEADS, _FLASHINFER_HEADS = (64, 128), (8, 16, 32, 64, 128)
_CONSUMER = 12


def compressed_buffers(architecture: Architecture, shape: ServerShape) -> int:
    """Made with the model or in the profile run, and kept: rotary tables in float32 for every position of the config.

    Layers with the window alone rotate otherwise than those that compress, so that there is a table for each kind.
    FlashInfer has a workspace of its own.
    """
    indexes = shape.parallelism.layers(architecture.num_layers)
    rotations = {max(cache.ratio for cache in found) > 1 for index in indexes
                 if (found := tuple(_packed(architecture.layers[index])))}  # fmt: skip
    if not rotations:
        return 0
    workspace = _FLASHINFER_WORKSPACE if _is_consumer(shape) else 0
    return len(rotations) * architecture.max_model_len * _ROTARY * _FLOAT + workspace


def compressed_attention(architecture: Architecture, shape: ServerShape) -> int:
    """The widest point of a layer's attention: the indexer's scores, beside queries and output for all padded heads."""
    caches = tuple(_caches(architecture))
    if not caches:
        return 0
    tokens, width = shape.max_num_batched_tokens, SERVED_BYTES[shape.served_dtype]
    heads = 2 * _padded_heads(architecture, shape) * architecture.head_dim * width
    states = sum({cache.width for cache in caches if cache.role == "state"}) * _FLOAT
    # Queries of the indexer, and their 8-bit copy.
    queries = max((cache.heads * cache.width for cache in caches if cache.role == "indexer"), default=0) * (width + 1)
    return tokens * (heads + states + queries) + indexer_logits_bytes(architecture)


def compressed_workspace(architecture: Architecture, shape: ServerShape) -> int:
    """The shared workspace: what an indexer gathers, or what a batch of prefills unpacks where FlashMLA serves them.

    See nvidia/flashmla.py:forward_mqa and _forward_prefill.
    """
    caches = tuple(_caches(architecture))
    if not caches or shape.compute_capability is None:
        return 0
    gathered = indexer_workspace_bytes(architecture, max_model_len=shape.max_model_len)
    if _is_consumer(shape):
        return gathered
    window = max(cache.window or 0 for cache in caches if cache.role == "latent")
    picked = max((cache.topk or 0 for cache in caches), default=0)
    ratios = {cache.ratio for cache in caches if cache.role == "latent"}
    return max(gathered, *(_unpacked(ratio, picked, window, architecture.head_dim, shape) for ratio in ratios))


def _unpacked(ratio: int, picked: int, window: int, width: int, shape: ServerShape) -> int:
    tokens, whole = shape.max_num_batched_tokens, ratio == 1
    entries = 0 if whole else -(-shape.max_model_len // ratio)
    columns = 0 if whole else max(picked, entries if ratio == _COUNTED else 0)
    rows = entries + window + tokens
    return (
        aligned(_CHUNK * rows * width * 2)
        + aligned(tokens * _up(columns + window) * _INDEX)
        + aligned(tokens * _INDEX)
    )  # fmt: skip


def compressed_tables(architecture: Architecture, shape: ServerShape, layout: KvLayout) -> int:
    """What metadata builders make after KV sizing, each for the groups of its layers.

    Two lists of all entries of ratio 128 for each token of a batch (sparse_mla.py), two of the window's
    (v1/attention/backends/mla/sparse_swa.py), and an indexer's block table for each.
    """
    if not any(_caches(architecture)):
        return 0
    tokens, total = shape.max_num_batched_tokens, 0
    counted = any(cache.ratio == _COUNTED for cache in _caches(architecture))
    entries = _up(-(-shape.max_model_len // _COUNTED)) if counted else 0
    for group in layout.groups:
        spec = group.spec
        if spec.window is None:
            total += 2 * tokens * entries * _INDEX
            total += indexer_table_bytes(
                architecture,
                max_model_len=shape.max_model_len,
                max_num_batched_tokens=tokens,
                block_size=spec.block_size,
            )
        elif "latent" in spec.content:
            total += 2 * tokens * spec.window * _INDEX
    return total


def _padded_heads(architecture: Architecture, shape: ServerShape) -> int:
    """Of queries and outputs, as the kernels take them (get_padded_num_q_heads)."""
    heads = architecture.num_attention_heads // shape.tensor_parallel_size
    kernels = _FLASHINFER_HEADS if _is_consumer(shape) else _FLASHMLA_HEADS
    return next((taken for taken in kernels if taken >= heads), heads)


def _is_consumer(shape: ServerShape) -> bool:
    """Whether FlashInfer serves it (nvidia/model.py:_select_dsv4_attn_cls)."""
    return shape.compute_capability is not None and shape.compute_capability[0] == _CONSUMER


def _up(columns: int) -> int:
    return -(-columns // _COLUMNS) * _COLUMNS


def _packed(layer: Layer) -> Iterator[PackedCache]:
    return (cache for cache in layer.caches if isinstance(cache, PackedCache))


def _caches(architecture: Architecture) -> Iterator[PackedCache]:
    for layer in architecture.kinds:
        yield from _packed(layer)
