"""What DeepSeek V4 takes on one rank beside its parameters and its cache.

vllm/models/deepseek_v4 of 0.33.0: attention.py, sparse_mla.py, nvidia/{model,flashmla,flashinfer_sparse}.py. All
figures are bytes, and 0 for every other model.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checkpoints.architecture import Architecture, PackedCache
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.memory.attention.latent import indexer_logits_bytes, indexer_table_bytes
from compiler.engines.vllm.memory.shape import ServerShape

_FLOAT, _INDEX = 4, 4
_COLUMNS = 128  # _C128A_TOPK_ALIGNMENT, and what combined indices are rounded up to
_COUNTED = 128  # only for this ratio the picked entries are listed ahead
_FLASHMLA_HEADS, _FLASHINFER_HEADS = (64, 128), (8, 16, 32, 64, 128)
_CONSUMER = 12


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


def _caches(architecture: Architecture) -> Iterator[PackedCache]:
    for layer in architecture.kinds:
        yield from (cache for cache in layer.caches if isinstance(cache, PackedCache))
