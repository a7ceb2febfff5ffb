"""KV cache by vLLM's page and block arithmetic.

vllm/v1/kv_cache_interface.py of 0.33.0: a block holds a page of each layer of a group, a request takes blocks of every
group, and block 0 is the null block that no request gets. How layers are grouped is in groups.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.units import largest

NULL_BLOCKS = 1


class CacheKind(StrEnum):
    """Kinds of caches, by the name of vLLM's spec."""

    FULL = "FullAttentionSpec"
    SLIDING = "SlidingWindowSpec"
    CHUNKED = "ChunkedLocalAttentionSpec"
    LATENT = "MLAAttentionSpec"
    SLIDING_LATENT = "SlidingWindowMLASpec"
    STATE = "MambaSpec"
    RING = "CircularBufferSpec"


OF_REQUESTS = (CacheKind.STATE, CacheKind.RING)
"""Kinds of which a request holds as many blocks whatever its length."""


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """The cache of one layer on one rank.

    Attributes:
        block_size: tokens of a block.
        page_bytes: of one block in this layer.
        content: what must be equal for layers to share a group although pages are of one size, such as head sizes.
        window, chunk: tokens; None where attention is not limited.
        states: blocks that a request holds of a STATE or a RING cache.
        replicated: the state is whole on every rank, and shares no block table with those that ranks divide.
    """

    kind: CacheKind
    block_size: int
    page_bytes: int
    content: tuple[int | str, ...] = ()
    window: int | None = None
    chunk: int | None = None
    states: int = 0
    replicated: bool = False

    def blocks_per_request(self, length: int, in_flight_tokens: int) -> int:
        """Blocks that one request of `length` tokens holds at most."""
        if self.kind in OF_REQUESTS:
            return self.states
        if self.window is not None:
            return _ceil(min(self.window - 1 + in_flight_tokens, length), self.block_size) + 1
        if self.chunk is not None:
            return _ceil(min(self.chunk + in_flight_tokens, length), self.block_size)
        return _ceil(length, self.block_size)

    @property
    def uniform_key(self) -> tuple[object, ...]:
        """Layers with equal keys need the same number of tokens, whatever their pages (UniformTypeKVCacheSpecs)."""
        full = self.kind in (CacheKind.FULL, CacheKind.LATENT)
        page = self.page_bytes if self.kind is CacheKind.STATE else 0
        kind = CacheKind.FULL if full else self.kind
        return (kind, self.block_size, self.window, self.chunk, self.states, page, self.replicated)

    def table_columns(self, length: int) -> int:
        """Entries of a request's block table: a ring has one, whatever the length (max_num_blocks_per_req)."""
        return 1 if self.kind is CacheKind.RING else _ceil(length, self.block_size)


def _ceil(count: int, unit: int) -> int:
    return -(-count // unit)


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers that share a block table: how many this rank holds, and what a block takes in all of those."""

    spec: CacheSpec
    layers: int
    page_bytes: int


@dataclass(frozen=True, slots=True)
class KvLayout:
    """The KV cache of one rank.

    Attributes:
        dtype: of the cache: a torch dtype, or `fp8`.
        block_size: tokens of a block of the first group, of attention where there is any.
        bytes_per_block: over all layers of the largest group.
        in_flight_tokens: scheduled and not yet settled.
    """

    dtype: str
    block_size: int
    bytes_per_block: int
    groups: tuple[CacheGroup, ...]
    in_flight_tokens: int

    def blocks_per_request(self, length: int) -> int:
        """Blocks that one request of `length` tokens holds at most, over all groups."""
        return sum(group.spec.blocks_per_request(length, self.in_flight_tokens) for group in self.groups)

    def blocks_for(self, *, concurrency: int, length: int) -> int:
        """Blocks of a pool in which `concurrency` requests of `length` tokens fit at once."""
        return NULL_BLOCKS + concurrency * self.blocks_per_request(length)

    def source(self, num_blocks: int, sequences: int) -> str:
        """Where these figures come from, for people."""
        blocks = f"{num_blocks} blocks of {self.block_size} tokens, of which vLLM keeps one for itself"
        return f"{blocks} (vllm/v1/kv_cache_interface.py), and at most {sequences} requests (--max-num-seqs)"

    def seat_blocks(self, sequences: int) -> int:
        """Blocks without which vLLM refuses to record decode steps of so many sequences: one each for their states.

        vllm/config/compilation.py:resolve_cudagraph_mode_and_sizes of 0.33.0, which counts the null block in.
        """
        return sequences if any(group.spec.kind is CacheKind.STATE for group in self.groups) else 0

    def max_concurrency(self, num_blocks: int, length: int) -> float:
        """Requests of `length` tokens at once, as vLLM logs it (it counts the null block in).

        0 where the model keeps nothing of a request: such a cache holds none, and limits none.
        """
        each = self.blocks_per_request(length)
        return num_blocks / each if each else 0.0

    def capacity_tokens(self, num_blocks: int, length: int) -> int:
        """VLLM's `GPU KV cache size`: max_concurrency × max_model_len."""
        return int(self.max_concurrency(num_blocks, length) * length)

    def max_length(self, num_blocks: int, *, limit: int, concurrency: int = 1) -> int:
        """The longest request of which `concurrency` fit at once in the pool, up to `limit`; 0 if none does."""
        return largest(limit, lambda length: self.blocks_for(concurrency=concurrency, length=length) <= num_blocks)
