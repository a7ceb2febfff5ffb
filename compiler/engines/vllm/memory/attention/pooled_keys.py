"""What Qwen4-Exp takes on one rank beside its parameters and its cache.

vllm/models/qwen4_exp/nvidia/{qsa,indexer_qsa,hyperconnection}.py and ops/qsa_indexer.py of 0.33.0. All figures are
bytes, and 0 for every other model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from compiler.checkpoints.architecture import Architecture, Linear
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.pooled_cache import PooledKeyCache
from compiler.engines.vllm.memory.shape import ServerShape

_INDEX, _FLOAT = 4, 4
_LOGITS = 512 << 20  # VLLM_SPARSE_INDEXER_MAX_LOGITS_MB
_TOPK_SCRATCH = 1 << 20  # qsa_indexer.py:_TOPK_WORKSPACE_BYTES
_TABLE_TOKENS = 128  # v1/worker/block_table.py:get_block_table_width
_ROW = 24  # of a metadata builder, for each token (qsa_cache.py:QSAMetadataBuilder)
_BUILDERS = 2  # of rings and of pooled keys
_MIXED = 4  # streams before and after, their norm and its gate (hyperconnection.py:combine_and_mix)
_TABLE = "ple.ple_embedding.ngram_embedding"

TABLES_ON_GPU = '{"cpu_offload": false}'
"""`--engram-config`: by default the tables stay in pinned memory of the machine, which no ledger proves."""


def has_ngram_tables(architecture: Architecture) -> bool:
    """Whether some layer embeds n-grams."""
    modules = (module for layer in architecture.kinds for module in layer.modules)
    return any(isinstance(module, Linear) and module.name == _TABLE for module in modules)


def token_tables_bytes(architecture: Architecture, *, max_num_batched_tokens: int) -> int:
    """Tables of picked tokens, int32, of which each layer makes one with the model (qsa.py:topk_indices_buffer).

    max_num_batched_tokens × (topk + ratio), the last column being how many there are.
    """
    columns = sum(cache.topk + cache.ratio for layer in architecture.layers for cache in _pooled(layer.caches))
    return max_num_batched_tokens * columns * _INDEX


def first_scores_bytes(architecture: Architecture, shape: ServerShape, block_size: int) -> int:
    """What a layer's indexer takes at the first prompts, as the profile run scores nothing.

    Scores of a chunk of a prefill or of all that decode, whichever are more; picked keys; queries and their gate.
    """
    found = {cache for layer in architecture.kinds for cache in _pooled(layer.caches)}
    return max((_scores(architecture, shape, cache, block_size) for cache in found), default=0)


def _scores(architecture: Architecture, shape: ServerShape, cache: PooledKeyCache, block_size: int) -> int:
    tokens, width = shape.max_num_batched_tokens, SERVED_BYTES[shape.served_dtype]
    alignment = _TABLE_TOKENS // math.gcd(_TABLE_TOKENS, block_size)
    blocks = -(-shape.max_model_len // (block_size * alignment)) * alignment
    row = blocks * (block_size // cache.ratio) * _FLOAT
    scores = max(_LOGITS, min(shape.max_num_seqs, tokens) * row)
    heads = 2 * architecture.num_attention_heads // shape.tensor_parallel_size * architecture.head_dim
    queries = tokens * (heads + cache.heads * cache.width) * width
    return scores + _TOPK_SCRATCH + tokens * (cache.topk // cache.ratio) * _INDEX + queries


def builder_bytes(architecture: Architecture, shape: ServerShape) -> int:
    """Lists of the metadata builders, made after KV sizing: a row for each token, and the keys that a batch closes."""
    if not any(True for layer in architecture.kinds for _ in _pooled(layer.caches)):
        return 0
    work = 2 * _INDEX * (shape.max_num_batched_tokens + shape.max_num_seqs)
    return _BUILDERS * _ROW * shape.max_num_batched_tokens + work


def mixed_streams_bytes(architecture: Architecture, shape: ServerShape) -> int:
    """The widest point between two blocks, which every rank works out whole."""
    if not architecture.gated_streams:
        return 0
    elements = shape.max_num_batched_tokens * architecture.hidden_size * architecture.streams
    return _MIXED * elements * SERVED_BYTES[shape.served_dtype]


def _pooled(caches: tuple[object, ...]) -> Iterator[PooledKeyCache]:
    return (cache for cache in caches if isinstance(cache, PooledKeyCache))
