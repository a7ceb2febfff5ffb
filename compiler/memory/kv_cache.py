"""KV cache by vLLM's page and block arithmetic.

vllm/v1/kv_cache_interface.py and vllm/v1/core/kv_cache_planning.py of 0.33.0: the layers' pages are made equal in size,
layers are put in groups, a block holds a page of each layer of a group, and block 0 is the null block that no request
gets.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

NULL_BLOCKS = 1


class CacheKind(StrEnum):
    """Kinds of caches, by the name of vLLM's spec."""

    FULL = "FullAttentionSpec"
    SLIDING = "SlidingWindowSpec"
    CHUNKED = "ChunkedLocalAttentionSpec"
    LATENT = "MLAAttentionSpec"
    SLIDING_LATENT = "SlidingWindowMLASpec"
    STATE = "MambaSpec"


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """The cache of one layer on one rank.

    Attributes:
        block_size: tokens of a block.
        page_bytes: of one block in this layer.
        content: what must be equal for layers to share a group although pages are of one size, such as head sizes.
        window, chunk: tokens; None where attention is not limited.
        states: blocks that a request holds of a STATE cache.
    """

    kind: CacheKind
    block_size: int
    page_bytes: int
    content: tuple[int | str, ...] = ()
    window: int | None = None
    chunk: int | None = None
    states: int = 0

    def blocks_per_request(self, length: int, in_flight_tokens: int) -> int:
        """Blocks that one request of `length` tokens holds at most."""
        if self.kind is CacheKind.STATE:
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
        return (CacheKind.FULL if full else self.kind, self.block_size, self.window, self.chunk, self.states)


def _ceil(count: int, unit: int) -> int:
    return -(-count // unit)


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers that share a block table. `page_bytes` is what a block takes in all of them."""

    spec: CacheSpec
    layers: int
    page_bytes: int


@dataclass(frozen=True, slots=True)
class KvLayout:
    """The KV cache of one rank.

    Attributes:
        dtype: of the cache: a torch dtype, or `fp8`.
        block_size: tokens of a block of the first group.
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

    def max_concurrency(self, num_blocks: int, length: int) -> float:
        """Requests of `length` tokens at once, as vLLM logs it (it counts the null block in)."""
        return num_blocks / self.blocks_per_request(length)

    def capacity_tokens(self, num_blocks: int, length: int) -> int:
        """VLLM's `GPU KV cache size`: max_concurrency × max_model_len."""
        return int(self.max_concurrency(num_blocks, length) * length)

    def max_length(self, num_blocks: int, *, limit: int, concurrency: int = 1) -> int:
        """The longest request of which `concurrency` fit at once in the pool, up to `limit`; 0 if none does."""
        return largest(limit, lambda length: self.blocks_for(concurrency=concurrency, length=length) <= num_blocks)


def largest(limit: int, holds: Callable[[int], bool]) -> int:
    """The largest number from 1 to `limit` for which a condition holds that, once false, stays so; 0 if none."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


class PagesError(ValueError):
    """Pages that vLLM cannot make equal; it would refuse to start."""


def kv_layout(specs: Sequence[CacheSpec], *, dtype: str, in_flight_tokens: int, packed: bool = False) -> KvLayout:
    """The layout that vLLM plans for the layers of one rank, in the order of the model.

    Args:
        packed: pages of several sizes lie side by side in a block, as a backend with a block-outermost layout has them.

    Raises:
        PagesError: their pages cannot be made equal.
    """
    groups = _groups(specs, packed=packed)
    largest_group = max((group.page_bytes for group in groups), default=0)
    block_size = groups[0].spec.block_size if groups else 0
    return KvLayout(dtype, block_size, largest_group, groups, in_flight_tokens)


def _groups(specs: Sequence[CacheSpec], *, packed: bool) -> tuple[CacheGroup, ...]:
    """kv_cache_planning.py:get_kv_cache_groups."""
    if not specs:
        return ()
    if len({spec.uniform_key for spec in specs}) == 1:
        return (CacheGroup(specs[0], len(specs), sum(spec.page_bytes for spec in specs)),)
    if packed and len({spec.page_bytes for spec in specs}) > 1:
        return packed_groups(specs)
    try:
        buckets = _buckets(_equal_pages(specs))
    except PagesError:
        whole = _without_windows(specs)
        if whole is None:
            raise
        return whole
    fewest, most = min(map(len, buckets)), max(map(len, buckets))
    # Padding short groups costs less than splitting long ones where they differ by less than half.
    size = most if most < fewest * 1.5 else fewest
    return tuple(group for bucket in buckets for group in _split(bucket, size))


def _without_windows(specs: Sequence[CacheSpec]) -> tuple[CacheGroup, ...] | None:
    """kv_cache_planning.py:_try_get_full_allocation_fallback_groups: windows beside latents hold all tokens."""
    kinds = {spec.kind for spec in specs}
    blocks = {spec.block_size for spec in specs if spec.kind in (CacheKind.FULL, CacheKind.LATENT)}
    if not {CacheKind.LATENT, CacheKind.SLIDING} <= kinds <= {CacheKind.LATENT, CacheKind.SLIDING, CacheKind.FULL}:
        return None
    if len(blocks) > 1:
        return None
    block = blocks.pop()
    pages = sum(spec.page_bytes * block // spec.block_size for spec in specs)
    first = dataclasses.replace(specs[0], kind=CacheKind.FULL, window=None, block_size=block)
    return (CacheGroup(first, len(specs), pages),)


def _split(bucket: Sequence[CacheSpec], size: int) -> Iterable[CacheGroup]:
    count = _ceil(len(bucket), size)
    for index in range(count):
        layers = bucket[index::count]
        yield CacheGroup(layers[0], len(layers), sum(spec.page_bytes for spec in layers))


def packed_groups(specs: Sequence[CacheSpec]) -> tuple[CacheGroup, ...]:
    """kv_cache_planning.py:_get_packed_kv_cache_groups: groups of mixed pages that fill a block about alike."""
    keyed: dict[tuple[object, ...], list[CacheSpec]] = {}
    for spec in specs:
        keyed.setdefault(spec.uniform_key, []).append(spec)
    buckets = [_PackedBucket.of(bucket) for bucket in keyed.values()]
    floor = max((bucket.repeats for bucket in buckets if bucket.balanced and bucket.is_mixed), default=0)
    repeats = [bucket.repeats for bucket in buckets if bucket.balanced]
    each = _least_padding(repeats, floor) if floor else None
    counts = [_ceil(bucket.repeats, each) if bucket.balanced and each else 1 for bucket in buckets]
    states = [bucket.is_state or (each is None and bucket.is_sliding) for bucket in buckets]
    anchor = max(
        bucket.widest(len(bucket.specs) if state else count)
        for bucket, count, state in zip(buckets, counts, states, strict=True)
    )
    for index, bucket in enumerate(buckets):
        if states[index]:
            fitting = max(anchor // bucket.specs[0].page_bytes, 1)
            counts[index] = max(counts[index], _ceil(len(bucket.specs), fitting))
    return tuple(group for bucket, count in zip(buckets, counts, strict=True) for group in bucket.split(count))


@dataclass(frozen=True, slots=True)
class _PackedBucket:
    """Layers that need the same number of tokens. `sizes`: its layers by page."""

    specs: Sequence[CacheSpec]
    sizes: dict[int, list[CacheSpec]]

    @classmethod
    def of(cls, specs: Sequence[CacheSpec]) -> _PackedBucket:
        sizes: dict[int, list[CacheSpec]] = {}
        for spec in specs:
            sizes.setdefault(spec.page_bytes, []).append(spec)
        return cls(specs, sizes)

    @property
    def balanced(self) -> bool:
        """Whether as many layers have each page, so that they repeat a pattern."""
        return len(set(map(len, self.sizes.values()))) == 1

    @property
    def is_mixed(self) -> bool:
        return len(self.sizes) > 1

    @property
    def repeats(self) -> int:
        return max(map(len, self.sizes.values()))

    @property
    def is_state(self) -> bool:
        return self.specs[0].kind is CacheKind.STATE

    @property
    def is_sliding(self) -> bool:
        return self.specs[0].kind in (CacheKind.SLIDING, CacheKind.SLIDING_LATENT)

    def widest(self, count: int) -> int:
        """Bytes of the largest of `count` groups that it is split into."""
        return sum(_ceil(len(layers), count) * page for page, layers in self.sizes.items())

    def split(self, count: int) -> Iterable[CacheGroup]:
        """That many groups; a pattern is not torn apart."""
        patterns = list(zip(*self.sizes.values(), strict=False)) if count > 1 else [tuple(self.specs)]
        for index in range(count):
            layers = [spec for pattern in patterns[index::count] for spec in pattern]
            yield CacheGroup(layers[0], len(layers), sum(spec.page_bytes for spec in layers))


def _least_padding(values: Sequence[int], floor: int) -> int:
    """kv_cache_planning.py:_approximate_gcd: what to round values up to so that least is added; ties: the larger."""
    return min(range(max(floor, 1), max(values) + 1), key=lambda unit: (sum(-value % unit for value in values), -unit))


def _buckets(specs: Sequence[CacheSpec]) -> list[list[CacheSpec]]:
    buckets: dict[CacheSpec, list[CacheSpec]] = {}
    for spec in specs:
        buckets.setdefault(spec, []).append(spec)
    return list(buckets.values())


def _equal_pages(specs: Sequence[CacheSpec]) -> list[CacheSpec]:
    """kv_cache_planning.py:unify_kv_cache_spec_page_size."""
    page = max(spec.page_bytes for spec in specs)
    return [_with_page(spec, page) for spec in specs]


def _with_page(spec: CacheSpec, page: int) -> CacheSpec:
    if spec.page_bytes == page:
        return spec
    if spec.kind is CacheKind.STATE:
        return dataclasses.replace(spec, page_bytes=page)
    if page % spec.page_bytes == 0:
        return dataclasses.replace(spec, page_bytes=page, block_size=spec.block_size * (page // spec.page_bytes))
    if spec.kind is CacheKind.LATENT:
        raise PagesError(f"pages of {spec.page_bytes} bytes in an MLA layer do not divide pages of {page} bytes")
    return dataclasses.replace(spec, page_bytes=page)


def common_block(specs: Iterable[CacheSpec]) -> int:
    """The block size that all of them share, as a least common multiple."""
    return math.lcm(*(spec.block_size for spec in specs))
