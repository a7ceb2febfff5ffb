"""What holds for every server: more context or slots never ask for less, and offload never asks the cards for more."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ggufs.shapes import shaped_model
from compiler.engines.llama_cpp.memory.placement import HOST, placement
from compiler.engines.llama_cpp.memory.plan import MemoryPlan, Served, memory_plan, read_served
from compiler.engines.llama_cpp.releases import RELEASES
from compiler.engines.llama_cpp.settings import Settings
from compiler.ledger import RowKind
from compiler.units import total

_NAMES = ("llama-3.2-1b", "gemma-3-4b", "gpt-oss-20b", "deepseek-v2-lite", "lfm2-1.2b", "qwen3-30b-a3b")


def _served(name: str) -> Served:
    model = shaped_model(name)
    assert model is not None
    return read_served(model)


_SERVED = {name: _served(name) for name in _NAMES}
_names = st.sampled_from(_NAMES)
_builds = st.sampled_from(list(RELEASES))
_settings = st.builds(
    Settings,
    context=st.integers(256, 70_000),
    slots=st.integers(1, 9),
    unified=st.booleans(),
    ubatch=st.sampled_from([64, 512, 700]),
    split=st.sampled_from([(), (1.0,), (2.0, 1.0)]),
    offload_kv=st.booleans(),
    full_window=st.booleans(),
)


def _kinds(plan: MemoryPlan, *kinds: RowKind) -> int:
    rows = [row for device in (*plan.devices, plan.host) for row in device]
    return total(row.bytes for row in rows if row.kind in kinds).expected


@settings(max_examples=15, deadline=None)
@given(_names, _builds, _settings, st.integers(0, 20_000))
def test_more_context_never_caches_less(name: str, build: str, terms: Settings, more: int) -> None:
    """Else a range of contexts would be solved at a value that does not fit."""
    least = memory_plan(RELEASES[build], _SERVED[name], terms)
    most = memory_plan(RELEASES[build], _SERVED[name], replace(terms, context=terms.context + more))
    assert _kinds(least, RowKind.KV_CACHE) <= _kinds(most, RowKind.KV_CACHE)


@settings(max_examples=15, deadline=None)
@given(_names, _settings)
def test_more_slots_never_hold_less(name: str, terms: Settings) -> None:
    """Caches, states and logits, in all places together."""
    fewer, more = (
        memory_plan(RELEASES["b10434"], _SERVED[name], replace(terms, slots=slots, unified=True))
        for slots in (terms.slots, terms.slots + 1)
    )
    assert _kinds(fewer, RowKind.KV_CACHE) <= _kinds(more, RowKind.KV_CACHE)
    logits = [next(row.bytes.low for row in plan.host if row.title == "output buffer") for plan in (fewer, more)]
    assert logits == sorted(logits)


@settings(max_examples=15, deadline=None)
@given(_names, _settings, st.data())
def test_each_rung_of_offload_asks_cards_for_less(name: str, terms: Settings, data: st.DataObject) -> None:
    """Weights and caches: what the search bisects would otherwise have no order."""
    served = _SERVED[name]
    layers = len(served.shape.layers)
    gpu_layers = data.draw(st.integers(0, layers))
    cpu_moe = data.draw(st.integers(0, layers - 1))
    rungs = [(gpu_layers + 1, cpu_moe), (gpu_layers, cpu_moe), (gpu_layers, cpu_moe + 1)]
    sizes = []
    for each in rungs:
        plan = memory_plan(RELEASES["b11434"], served, replace(terms, gpu_layers=each[0], cpu_moe=each[1]))
        rows = [row for device in plan.devices for row in device]
        sizes.append(total(row.bytes for row in rows if row.kind in (RowKind.WEIGHTS, RowKind.KV_CACHE)).high)
    assert sizes == sorted(sizes, reverse=True)


@settings(max_examples=15, deadline=None)
@given(_names, _settings, st.integers(0, 100))
def test_totals_are_the_sums_of_rows(name: str, terms: Settings, gpu_layers: int) -> None:
    """The page shows rows and a total: they must agree."""
    served = _SERVED[name]
    plan = memory_plan(RELEASES["b11434"], served, replace(terms, gpu_layers=gpu_layers))
    for device, rows in enumerate(plan.devices):
        assert plan.device_bytes(device) == total(row.bytes for row in rows)
    assert plan.host_bytes == total(row.bytes for row in plan.host)


@given(st.integers(1, 130), st.integers(0, 140), st.lists(st.floats(0.01, 99), min_size=1, max_size=5))
def test_layers_are_shared_out_in_order(layers: int, gpu_layers: int, split: list[float]) -> None:
    """Each layer has one place; host first, then the cards in their order."""
    places = placement(Settings(8192, 1, gpu_layers=gpu_layers, split=tuple(split)), layers)
    assert list(places.layers) == sorted(places.layers)
    assert sum(place != HOST for place in (*places.layers, places.output)) == min(gpu_layers, layers + 1)
    assert max(places.layers) < len(split)
