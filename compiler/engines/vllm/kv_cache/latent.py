"""Pages of latent caches.

vllm/model_executor/layers/attention/mla_attention.py, models/deepseek_v2.py and vllm/models/deepseek_v4 of 0.33.0.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import IndexerCache, KeyCache, LatentCache, PackedCache
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.pooled_cache import PooledKeyCache, RingCache
from compiler.engines.vllm.kv_cache.blocks import CacheKind, CacheSpec

_ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8": 1, "fp8_e4m3": 1}

# DeepSeek's own format: 512 8-bit values, 4 scales and 64 16-bit values with position.
_DS_ENTRY = 656
_DS_WIDTH = 576

# DeepSeek V4 of the same name: 448 8-bit values, 64 16-bit ones and 8 bytes of scales.
_V4_ENTRY = 584
_V4_WIDTH = 512
_V4_ALIGNMENT = 576

_SCALED = 128  # keys of an indexer that share a 4-byte scale
_SCALE_BYTES = 4


def latent_page(cache: LatentCache, dtype: str, block_size: int) -> CacheSpec:
    """One latent for each token.

    Args:
        dtype: as the backend keeps it: `fp8_ds_mla` for DeepSeek's own format.

    Raises:
        ConfigError: that format holds no latents of this width.
    """
    if dtype == "fp8_ds_mla":
        if cache.width != _DS_WIDTH:
            raise ConfigError(
                f"kv_lora_rank + qk_rope_head_dim is {cache.width}: vLLM keeps {_DS_WIDTH} in its fp8 format fp8_ds_mla"
            )
        entry = _DS_ENTRY
    else:
        entry = cache.width * _ELEMENT_BYTES[dtype]
    return CacheSpec(CacheKind.LATENT, block_size, block_size * entry, (cache.width, dtype))


def indexer_page(cache: IndexerCache, block_size: int) -> CacheSpec:
    """8-bit keys and their scales, whatever the dtype of the latents (DeepseekV32IndexerCache)."""
    return CacheSpec(CacheKind.LATENT, block_size, block_size * _key_bytes(cache.head_dim), ("indexer", cache.head_dim))


def key_page(cache: KeyCache, block_size: int) -> CacheSpec:
    """16-bit keys, whatever the dtype of keys and values (attention_config.resolve_indexer_kv_dtype)."""
    return CacheSpec(CacheKind.LATENT, block_size, block_size * cache.width * 2, ("keys", cache.width))


def ring_page(cache: RingCache) -> CacheSpec:
    """One block of a request for its whole life, of raw keys in 16 bits."""
    content = ("ring", cache.width)
    return CacheSpec(CacheKind.RING, cache.tokens, cache.tokens * cache.width * 2, content, states=1)


def pooled_page(cache: PooledKeyCache, block_size: int) -> CacheSpec:
    """16-bit keys, whatever the dtype of keys and values, in blocks of the tokens that they stand for."""
    page = block_size // cache.ratio * cache.width * 2
    return CacheSpec(CacheKind.LATENT, block_size, page, ("pooled", cache.width, cache.ratio))


def _key_bytes(head_dim: int) -> int:
    return head_dim + head_dim // _SCALED * _SCALE_BYTES


def packed_page(cache: PackedCache, block_size: int) -> CacheSpec:
    """A cache of DeepSeek V4: pages are padded to 576 bytes.

    Latents are kept in the format fp8_ds_mla whatever the flag says: one that it cannot be made of is refused where
    the backend is chosen (latent_backends.py:packed_backend).

    Raises:
        ConfigError: latents of a width that the format does not hold.
    """
    block = cache.block or block_size
    page = -(-(block // cache.ratio * _packed_entry(cache)) // _V4_ALIGNMENT) * _V4_ALIGNMENT
    content = (cache.role, cache.width, cache.ratio)
    if cache.window is not None:
        return CacheSpec(CacheKind.SLIDING_LATENT, block, page, content, window=cache.window)
    return CacheSpec(CacheKind.LATENT, block, page, content)


def _packed_entry(cache: PackedCache) -> int:
    if cache.role == "state":
        return cache.width * 4
    if cache.role == "indexer":
        return _key_bytes(cache.width)
    if cache.width != _V4_WIDTH:
        raise ConfigError(f"`head_dim` must be {_V4_WIDTH} in DeepSeek V4, not {cache.width}")
    return _V4_ENTRY
