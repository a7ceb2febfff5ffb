"""What each layer's cache takes on one rank: page sizes by attention kind, and block sizes by attention backend."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from compiler.checkpoints.architecture import (
    Architecture,
    Cache,
    HeadCache,
    IndexerCache,
    KeyCache,
    LatentCache,
    Layer,
    PackedCache,
)
from compiler.checkpoints.architecture import served_dtype as auto_dtype
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.pooled_cache import PooledKeyCache, RingCache
from compiler.engines.vllm.kv_cache.blocks import CacheKind, CacheSpec, KvLayout
from compiler.engines.vllm.kv_cache.groups import kv_layout
from compiler.engines.vllm.kv_cache.latent import (
    indexer_page,
    key_page,
    latent_page,
    packed_page,
    pooled_page,
    ring_page,
)
from compiler.engines.vllm.kv_cache.states import StateRules, state_rules

ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8": 1}


HOPPER = (9, 0)


@lru_cache(maxsize=4096)
def rank_kv_layout(
    architecture: Architecture,
    parallelism: Parallelism,
    *,
    dtype: str,
    block_size: int,
    max_num_batched_tokens: int,
    served_dtype: str | None = None,
    compute_capability: tuple[int, int] | None = HOPPER,
    prefix_caching: bool | None = None,
) -> KvLayout:
    """The layout on one rank.

    Layers are grouped over all pipeline stages, and a rank then holds its part of each group
    (vllm/v1/core/kv_cache_planning.py:get_global_kv_cache_groups and _project_kv_cache_groups_to_worker). All ranks
    get the number of blocks of the one that has room for fewest. Async scheduling, on by default, keeps
    pipeline_parallel_size + 1 batches in flight (vllm/config/vllm.py:max_concurrent_batches).

    Args:
        dtype: of keys and values.
        block_size: that the attention backend wants in a model without recurrent states.
        served_dtype: of the model, which states are kept in; by default `dtype` where that is no narrower one.
        compute_capability: of the GPU, None on a CPU; by default one on which a request holds most states.
        prefix_caching: whether it is on; None for vLLM's choice, on for all but models of states alone.
    """
    served = served_dtype or _served(architecture, dtype)
    rules = state_rules(
        architecture,
        parallelism,
        block_size=block_size,
        # Packed formats of latents have pages of their own (latent_pages.py), and no recurrent states beside them.
        element_bytes=ELEMENT_BYTES.get(dtype, 1),
        served_dtype=served,
        major=compute_capability[0] if compute_capability else None,
        prefix_caching=prefix_caching,
    )
    kept = (dtype, served)
    kinds = {id(layer): tuple(_layer_specs(layer, parallelism, kept, rules)) for layer in architecture.kinds}
    stage = parallelism.layers(architecture.num_layers)
    specs: list[CacheSpec] = []
    held: list[bool] = []
    for index, layer in enumerate(architecture.layers):
        found = kinds[id(layer)]
        specs.extend(found)
        held.extend([index in stage] * len(found))
    caches = (cache for layer in architecture.kinds for cache in layer.caches)
    packed = any(isinstance(cache, PackedCache | PooledKeyCache) for cache in caches)
    batches = parallelism.pipeline_parallel_size + 1
    return kv_layout(specs, dtype=dtype, in_flight_tokens=batches * max_num_batched_tokens, held=held, packed=packed)


def _served(architecture: Architecture, dtype: str) -> str:
    return dtype if dtype in SERVED_BYTES else auto_dtype(architecture.checkpoint_dtype, bfloat16_runs=True)


def _layer_specs(
    layer: Layer, parallelism: Parallelism, kept: tuple[str, str], rules: StateRules
) -> Iterator[CacheSpec]:
    """Of all that a layer keeps itself, in the cache's dtype or in the served one."""
    dtype, served = kept
    for cache in layer.caches:
        if isinstance(cache, HeadCache) and cache.borrowed:
            continue
        is_served = isinstance(cache, HeadCache) and cache.as_served
        yield from _specs(cache, parallelism, served if is_served else dtype, rules)


def _specs(cache: Cache, parallelism: Parallelism, dtype: str, rules: StateRules) -> Iterator[CacheSpec]:
    block_size = rules.block_size
    if isinstance(cache, HeadCache):
        yield _heads(cache, parallelism, dtype, block_size)
    elif isinstance(cache, LatentCache):
        yield latent_page(cache, dtype, block_size)
    elif isinstance(cache, IndexerCache):
        yield indexer_page(cache, block_size)
    elif isinstance(cache, KeyCache):
        yield key_page(cache, block_size)
    elif isinstance(cache, PackedCache):
        yield packed_page(cache, block_size)
    elif isinstance(cache, RingCache):
        yield ring_page(cache)
    elif isinstance(cache, PooledKeyCache):
        yield pooled_page(cache, block_size)
    else:
        yield rules.spec(cache, parallelism)


def _heads(cache: HeadCache, parallelism: Parallelism, dtype: str, block_size: int) -> CacheSpec:
    heads = max(1, cache.kv_heads // parallelism.tensor_parallel_size)
    page = heads * block_size * (cache.head_dim + cache.value_dim) * ELEMENT_BYTES[dtype]
    content = (heads, cache.head_dim, cache.value_dim)
    if cache.window is not None:
        return CacheSpec(CacheKind.SLIDING, block_size, page, content, window=cache.window)
    if cache.chunk is not None:
        return CacheSpec(CacheKind.CHUNKED, block_size, page, content, chunk=cache.chunk)
    return CacheSpec(CacheKind.FULL, block_size, page, content)
