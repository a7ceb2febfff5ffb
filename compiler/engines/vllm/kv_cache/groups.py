"""Which layers share a block table, and what a block takes in them.

vllm/v1/core/kv_cache_planning.py of 0.33.0: the layers' pages are made equal in size and layers are put in groups; a
backend with a block-outermost layout lays pages of several sizes side by side instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compiler.checkpoints.parameters.ranks import SplitError
from compiler.engines.vllm.kv_cache.blocks import OF_REQUESTS, CacheGroup, CacheKind, CacheSpec, KvLayout


class PagesError(SplitError):
    """Pages that vLLM cannot make equal; it would refuse to start."""


def kv_layout(
    specs: Sequence[CacheSpec],
    *,
    dtype: str,
    in_flight_tokens: int,
    held: Sequence[bool] | None = None,
    packed: bool = False,
) -> KvLayout:
    """The layout that vLLM plans for one rank.

    Args:
        specs: of all layers of the model, in its order.
        held: which of them this rank holds; by default all.
        packed: pages of several sizes lie side by side in a block, as a backend with a block-outermost layout has them.

    Raises:
        PagesError: their pages cannot be made equal.
    """
    here = [True] * len(specs) if held is None else held
    groups = tuple(_on_rank(group, here) for group in _groups(specs, packed=packed))
    largest_group = max((group.page_bytes for group in groups), default=0)
    tokens = [group.spec.block_size for group in groups if group.spec.kind not in OF_REQUESTS]
    block_size = next(iter(tokens or [group.spec.block_size for group in groups]), 0)
    return KvLayout(dtype, block_size, largest_group, groups, in_flight_tokens)


_Members = Sequence[tuple[int, CacheSpec]]
"""Layers by their place in the model."""


def _on_rank(group: _Members, here: Sequence[bool]) -> CacheGroup:
    pages = [spec.page_bytes for index, spec in group if here[index]]
    return CacheGroup(group[0][1], len(pages), sum(pages))


def _groups(specs: Sequence[CacheSpec], *, packed: bool) -> Iterable[_Members]:
    """kv_cache_planning.py:get_kv_cache_groups."""
    if not specs:
        return ()
    if len({spec.uniform_key for spec in {id(spec): spec for spec in specs}.values()}) == 1:
        return (tuple(enumerate(specs)),)
    if packed and len({spec.page_bytes for spec in specs}) > 1:
        return _packed_groups(specs)
    try:
        buckets = _buckets(_equal_pages(specs))
    except PagesError:
        whole = _without_windows(specs)
        if whole is None:
            raise
        return (whole,)
    fewest, most = min(map(len, buckets)), max(map(len, buckets))
    # Padding short groups costs less than splitting long ones where they differ by less than half.
    size = most if most < fewest * 1.5 else fewest
    return [group for bucket in buckets for group in _split(bucket, size)]


def _without_windows(specs: Sequence[CacheSpec]) -> _Members | None:
    """Windows beside latents hold all tokens (kv_cache_planning.py:_try_get_full_allocation_fallback_groups)."""
    kinds = {spec.kind for spec in specs}
    blocks = {spec.block_size for spec in specs if spec.kind in (CacheKind.FULL, CacheKind.LATENT)}
    if not {CacheKind.LATENT, CacheKind.SLIDING} <= kinds <= {CacheKind.LATENT, CacheKind.SLIDING, CacheKind.FULL}:
        return None
    if len(blocks) > 1:
        return None
    block = blocks.pop()
    return [(index, _as_full(spec, block)) for index, spec in enumerate(specs)]


def _as_full(spec: CacheSpec, block_size: int) -> CacheSpec:
    page = spec.page_bytes * block_size // spec.block_size
    return dataclasses.replace(spec, kind=CacheKind.FULL, window=None, block_size=block_size, page_bytes=page)


def _split(bucket: _Members, size: int) -> Iterable[_Members]:
    """Every so manyth layer in turn, so that pipeline stages hold alike parts of each group."""
    count = _ceil(len(bucket), size)
    return (bucket[index::count] for index in range(count))


def _buckets(specs: Sequence[CacheSpec]) -> list[list[tuple[int, CacheSpec]]]:
    buckets: dict[CacheSpec, list[tuple[int, CacheSpec]]] = {}
    for index, spec in enumerate(specs):
        buckets.setdefault(spec, []).append((index, spec))
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


def _packed_groups(specs: Sequence[CacheSpec]) -> Iterable[_Members]:
    """Groups of mixed pages that fill a block about alike (kv_cache_planning.py:_get_packed_kv_cache_groups)."""
    keyed: dict[tuple[object, ...], list[tuple[int, CacheSpec]]] = {}
    for index, spec in enumerate(specs):
        keyed.setdefault(spec.uniform_key, []).append((index, spec))
    buckets = [_PackedBucket.of(bucket) for bucket in keyed.values()]
    floor = max((bucket.repeats for bucket in buckets if bucket.balanced and bucket.is_mixed), default=0)
    repeats = [bucket.repeats for bucket in buckets if bucket.balanced]
    each = _least_padding(repeats, floor) if floor else None
    counts = [_ceil(bucket.repeats, each) if bucket.balanced and each else 1 for bucket in buckets]
    states = [bucket.is_state or (each is None and bucket.is_sliding) for bucket in buckets]
    anchor = max(
        bucket.widest(len(bucket.layers) if state else count)
        for bucket, count, state in zip(buckets, counts, states, strict=True)
    )
    for index, bucket in enumerate(buckets):
        if states[index]:
            fitting = max(anchor // bucket.first.page_bytes, 1)
            counts[index] = max(counts[index], _ceil(len(bucket.layers), fitting))
    return [group for bucket, count in zip(buckets, counts, strict=True) for group in bucket.split(count)]


@dataclass(frozen=True, slots=True)
class _PackedBucket:
    """Layers that need the same number of tokens. `sizes`: its layers by page."""

    layers: _Members
    sizes: dict[int, list[tuple[int, CacheSpec]]]

    @classmethod
    def of(cls, layers: _Members) -> _PackedBucket:
        sizes: dict[int, list[tuple[int, CacheSpec]]] = {}
        for index, spec in layers:
            sizes.setdefault(spec.page_bytes, []).append((index, spec))
        return cls(layers, sizes)

    @property
    def first(self) -> CacheSpec:
        return self.layers[0][1]

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
        return self.first.kind in OF_REQUESTS

    @property
    def is_sliding(self) -> bool:
        return self.first.kind in (CacheKind.SLIDING, CacheKind.SLIDING_LATENT)

    def widest(self, count: int) -> int:
        """Bytes of the largest of `count` groups that it is split into."""
        return sum(_ceil(len(layers), count) * page for page, layers in self.sizes.items())

    def split(self, count: int) -> Iterable[_Members]:
        """That many groups; a pattern is not torn apart."""
        patterns = list(zip(*self.sizes.values(), strict=False)) if count > 1 else [tuple(self.layers)]
        for index in range(count):
            yield [layer for pattern in patterns[index::count] for layer in pattern]


def _least_padding(values: Sequence[int], floor: int) -> int:
    """What to round all values up to so that least is added; the larger of two that add the same.

    See kv_cache_planning.py:_approximate_gcd.
    """
    return min(range(max(floor, 1), max(values) + 1), key=lambda unit: (sum(-value % unit for value in values), -unit))


def _ceil(count: int, unit: int) -> int:
    return -(-count // unit)
