"""What each layer's cache takes on one rank: page sizes by attention kind, and block sizes by attention backend."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.memory.architecture import Architecture, Cache, HeadCache, IndexerCache, LatentCache, PackedCache
from compiler.memory.kv_cache import CacheKind, CacheSpec, KvLayout, kv_layout
from compiler.memory.latent_pages import indexer_page, latent_page, packed_page
from compiler.memory.parallelism import Parallelism

ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8": 1}


def rank_kv_layout(
    architecture: Architecture,
    parallelism: Parallelism,
    *,
    dtype: str,
    block_size: int,
    max_num_batched_tokens: int,
) -> KvLayout:
    """The layout on one rank.

    Async scheduling, on by default, keeps pipeline_parallel_size + 1 batches in flight
    (vllm/config/vllm.py:max_concurrent_batches).
    """
    layers = parallelism.layers(architecture.num_layers)
    caches = tuple(cache for index in layers for cache in architecture.layers[index].caches)
    specs = tuple(spec for cache in caches for spec in _specs(cache, parallelism, dtype, block_size))
    batches = parallelism.pipeline_parallel_size + 1
    packed = any(isinstance(cache, PackedCache) for cache in caches)
    return kv_layout(specs, dtype=dtype, in_flight_tokens=batches * max_num_batched_tokens, packed=packed)


def _specs(cache: Cache, parallelism: Parallelism, dtype: str, block_size: int) -> Iterator[CacheSpec]:
    if isinstance(cache, HeadCache):
        yield _heads(cache, parallelism, dtype, block_size)
    elif isinstance(cache, LatentCache):
        yield latent_page(cache, dtype, block_size)
    elif isinstance(cache, IndexerCache):
        yield indexer_page(cache, block_size)
    elif isinstance(cache, PackedCache):
        yield packed_page(cache, dtype, block_size)
    else:
        raise NotImplementedError


def _heads(cache: HeadCache, parallelism: Parallelism, dtype: str, block_size: int) -> CacheSpec:
    heads = max(1, cache.kv_heads // parallelism.tensor_parallel_size)
    page = heads * block_size * (cache.head_dim + cache.value_dim) * ELEMENT_BYTES[dtype]
    content = (heads, cache.head_dim, cache.value_dim)
    if cache.window is not None:
        return CacheSpec(CacheKind.SLIDING, block_size, page, content, window=cache.window)
    if cache.chunk is not None:
        return CacheSpec(CacheKind.CHUNKED, block_size, page, content, chunk=cache.chunk)
    return CacheSpec(CacheKind.FULL, block_size, page, content)
