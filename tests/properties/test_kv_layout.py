"""What holds for every mix of caches that a model may have, whatever its numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compiler.engines.vllm.kv_cache.blocks import CacheKind, CacheSpec, KvLayout
from compiler.engines.vllm.kv_cache.groups import kv_layout

BLOCK = 16


@st.composite
def kinds(draw: st.DrawFn) -> CacheSpec:
    """One kind of layer; MLA is left out where pages differ, which vLLM refuses."""
    kind = draw(st.sampled_from([CacheKind.FULL, CacheKind.SLIDING, CacheKind.CHUNKED, CacheKind.STATE]))
    page = draw(st.integers(1, 64)) * 256
    if kind is CacheKind.SLIDING:
        return CacheSpec(kind, BLOCK, page, window=draw(st.integers(1, 8192)))
    if kind is CacheKind.CHUNKED:
        return CacheSpec(kind, BLOCK, page, chunk=draw(st.integers(1, 8192)))
    if kind is CacheKind.STATE:
        return CacheSpec(kind, BLOCK, page, states=draw(st.integers(1, 4)))
    return CacheSpec(kind, BLOCK, page)


models = st.lists(kinds(), min_size=1, max_size=4).flatmap(
    lambda found: st.lists(st.sampled_from(found), min_size=1, max_size=48)
)
tokens = st.integers(1, 32768)
lengths = st.integers(1, 1 << 20)


def layout_of(specs: list[CacheSpec], tokens: int = 8192, held: list[bool] | None = None) -> KvLayout:
    return kv_layout(specs, dtype="bfloat16", in_flight_tokens=tokens, held=held)


@given(models, tokens)
def test_every_layer_is_in_one_group_and_no_group_outgrows_a_block(specs: list[CacheSpec], tokens: int) -> None:
    layout = layout_of(specs, tokens)
    assert sum(group.layers for group in layout.groups) == len(specs)
    assert max(group.page_bytes for group in layout.groups) == layout.bytes_per_block
    assert sum(group.page_bytes for group in layout.groups) >= sum(spec.page_bytes for spec in specs)


@given(models, tokens, lengths, lengths, st.integers(1, 1 << 20))
def test_longer_requests_never_run_more_at_once(
    specs: list[CacheSpec], tokens: int, one: int, other: int, blocks: int
) -> None:
    layout, (short, long) = layout_of(specs, tokens), sorted((one, other))
    assert layout.blocks_per_request(short) <= layout.blocks_per_request(long)
    assert layout.max_concurrency(blocks, short) >= layout.max_concurrency(blocks, long)


pools = st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20))


@given(models, tokens, lengths, pools, st.integers(1, 64))
def test_more_blocks_never_serve_less(
    specs: list[CacheSpec], tokens: int, limit: int, pools: tuple[int, int], concurrency: int
) -> None:
    layout, (few, many) = layout_of(specs, tokens), sorted(pools)
    shorter = layout.max_length(few, limit=limit, concurrency=concurrency)
    longer = layout.max_length(many, limit=limit, concurrency=concurrency)
    assert shorter <= longer
    assert shorter == 0 or layout.blocks_for(concurrency=concurrency, length=shorter) <= few
    if shorter < limit:
        assert layout.blocks_for(concurrency=concurrency, length=shorter + 1) > few


@given(models, tokens, lengths, st.data())
def test_a_stage_holds_its_part_of_the_model_s_groups(
    specs: list[CacheSpec], tokens: int, length: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(specs)))
    whole = layout_of(specs, tokens)
    first = layout_of(specs, tokens, [index < cut for index in range(len(specs))])
    second = layout_of(specs, tokens, [index >= cut for index in range(len(specs))])
    for group, one, other in zip(whole.groups, first.groups, second.groups, strict=True):
        assert one.spec == other.spec == group.spec
        assert one.layers + other.layers == group.layers
        assert one.page_bytes + other.page_bytes == group.page_bytes
    assert first.blocks_per_request(length) == second.blocks_per_request(length) == whole.blocks_per_request(length)


@given(kinds(), st.integers(1, 64), lengths)
def test_a_state_takes_the_same_at_every_length(spec: CacheSpec, layers: int, length: int) -> None:
    layout = layout_of([spec] * layers)
    assert len(layout.groups) == 1
    if spec.kind is CacheKind.STATE:
        assert layout.blocks_per_request(length) == spec.states
