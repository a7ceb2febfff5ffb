"""Caches of attention that picks tokens by keys of several tokens each (vllm/models/qwen4_exp/common of 0.33.0)."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_BLOCK = 16  # vllm/config/cache.py:DEFAULT_BLOCK_SIZE


@dataclass(frozen=True, slots=True)
class RingCache:
    """Raw 16-bit keys of the tokens that are not pooled yet, in one block for each request (vllm's QSAKeyStateCache).

    Attributes:
        width: elements of one entry, with a token's positions where they have several axes.
        tokens: that the block holds.
    """

    width: int
    tokens: int


@dataclass(frozen=True, slots=True)
class PooledKeyCache:
    """One 16-bit key for so many tokens, the same on every rank (vllm's QSACompressedKeyCache).

    Attributes:
        width: of a key.
        ratio: tokens that one key stands for.
        heads: of the queries that are compared with it, the same on every rank.
        topk: tokens that are picked, by whole keys.
    """

    width: int
    ratio: int
    heads: int
    topk: int
