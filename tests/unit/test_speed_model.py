"""Estimates of speed: what they must never say, what they rest on, and that nothing in them lacks a source."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.speeds.parameters import parameters
from compiler.catalog.hardware.gpus import GPUS
from compiler.speed.cards import CARDS, Card
from compiler.speed.constants import FITTED, CardClass
from compiler.speed.estimate import Estimate, Mark
from compiler.speed.load import Load, Pool, Regime
from compiler.speed.shape import Arithmetic, Shape
from compiler.speed.speed import Speed, predict
from compiler.units import GIB
from tests.conftest import ROOT
from tests.unit.speed_shapes import dense, sparse

POOL = Pool(40 * GIB, 256)
NO_FIGURES = {"v100-16gb", "v100-32gb"}
"""Nothing of their class was measured, and the pinned releases refuse them."""
NOT_FITTED = {"eager", "held_lockstep", "busy_most"}
"""Assumptions, as their descriptions say."""

shapes = st.sampled_from([dense(), dense(Arithmetic.FP8), dense(Arithmetic.W4), sparse()])
cards = st.sampled_from(sorted(CARDS.values(), key=lambda card: card.name))
ranks = st.sampled_from([1, 2, 4, 8])


@st.composite
def loads(draw: st.DrawFn) -> Load:
    regime = draw(st.sampled_from([Regime.SINGLE, Regime.CLOSED, Regime.BURST, Regime.BATCH]))
    return Load(
        regime,
        draw(st.integers(1, 60_000)),
        draw(st.integers(1, 4_000)),
        1 if regime is Regime.SINGLE else draw(st.integers(2, 300)),
        draw(st.integers(1, 500)) if regime in (Regime.BURST, Regime.BATCH) else None,
        lockstep=draw(st.booleans()),
    )


def said(shape: Shape, card: Card, count: int, load: Load) -> Speed:
    found = predict(shape, card, count, load, POOL)
    assert found is not None
    return found


def estimates(speed: Speed) -> list[Estimate]:
    values = (getattr(speed, field.name) for field in dataclasses.fields(speed))
    return [value for value in values if isinstance(value, Estimate)]


@given(shapes, cards, ranks, loads())
def test_every_figure_is_within_its_interval_and_above_nothing(
    shape: Shape, card: Card, count: int, load: Load
) -> None:
    found = said(shape, card, count, load)
    for each in estimates(found):
        assert 0 < each.low < each.expected < each.high < math.inf
    assert 1 <= found.at_once <= POOL.seats


@given(shapes, cards, ranks, loads(), st.floats(1.01, 4))
def test_more_bandwidth_is_never_slower(shape: Shape, card: Card, count: int, load: Load, factor: float) -> None:
    slow = said(shape, card, count, load)
    fast = said(shape, replace(card, bandwidth=card.bandwidth * factor), count, load)
    assert fast.tpot.expected <= slow.tpot.expected * (1 + 1e-9)
    assert fast.output_rate.expected >= slow.output_rate.expected * (1 - 1e-9)


@given(shapes, cards, ranks, loads(), st.integers(1, 20_000))
def test_a_longer_prompt_never_has_its_first_token_earlier(
    shape: Shape, card: Card, count: int, load: Load, more: int
) -> None:
    # As many at once: a pool that holds fewer long requests than short ones lets fewer wait for each other.
    pool = replace(POOL, cache=10**18)
    before = predict(shape, card, count, load, pool)
    after = predict(shape, card, count, replace(load, input=load.input + more), pool)
    assert before is not None
    assert after is not None
    assert after.ttft.expected >= before.ttft.expected * (1 - 1e-9)


@given(shapes, cards, ranks, st.integers(1, 255))
def test_more_clients_never_get_more_each(shape: Shape, card: Card, count: int, clients: int) -> None:
    few, more = (said(shape, card, count, Load(Regime.CLOSED, 1024, 256, each)) for each in (clients, clients + 1))
    assert more.request_rate.expected <= few.request_rate.expected * (1 + 1e-9)


CHAT = Load(Regime.CLOSED, 1024, 256, 4)


@pytest.mark.parametrize(
    ("shape", "card", "load", "mark"),
    [
        (dense(), "h100-80gb", CHAT, Mark.MEASURED),
        (dense(), "a100-80gb", replace(CHAT, regime=Regime.SINGLE, concurrency=1), Mark.MEASURED),
        (dense(), "h100-80gb", replace(CHAT, input=40_000), Mark.EXTRAPOLATED),
        (dense(), "t4", CHAT, Mark.THIN),
        (dense(), "l4", CHAT, Mark.THIN),
        (dense(Arithmetic.FP8), "a100-80gb", CHAT, Mark.THIN),
        (replace(dense(Arithmetic.FP8), block_scales=True), "h100-80gb", CHAT, Mark.THIN),
        (replace(dense(), unlike="attention that compresses its cache"), "b200", CHAT, Mark.THIN),
        (dense(), "rtx-5090", CHAT, Mark.MEASURED),
        (dense(), "rtx-5090", replace(CHAT, concurrency=16), Mark.THIN),
        (dense(), "h100-80gb", replace(CHAT, concurrency=200), Mark.THIN),
        (replace(dense(), eager=True), "h100-80gb", CHAT, Mark.THIN),
        (replace(dense(), lora=True), "h100-80gb", CHAT, Mark.THIN),
    ],
)
def test_an_estimate_says_what_it_rests_on(shape: Shape, card: str, load: Load, mark: Mark) -> None:
    found = said(shape, CARDS[card], 1, load)
    assert found.ground.mark is mark
    assert bool(found.ground.reasons) == (mark is not Mark.MEASURED)
    spread = found.tpot.high / found.tpot.low
    sure = said(dense(), CARDS["a100-80gb"], 1, replace(CHAT, regime=load.regime, concurrency=min(load.concurrency, 4)))
    assert spread == pytest.approx(sure.tpot.high / sure.tpot.low) if mark is Mark.MEASURED else spread > 1


def test_of_a_gguf_model_only_one_request_is_said_anything_of() -> None:
    shape = replace(dense(), arithmetic=Arithmetic.GGUF)
    assert predict(shape, CARDS["rtx-4090"], 1, CHAT, POOL) is None
    alone = said(shape, CARDS["rtx-4090"], 1, Load(Regime.SINGLE, 1024, 256))
    assert alone.ground.mark is Mark.THIN


@pytest.mark.parametrize(
    ("stack", "known"),
    [
        ("chat-8gb", {"chat"}),
        ("coder-12gb", {"coder"}),
        ("large-24gb", set()),
        ("chat-cpu", set()),
        ("tiny-cpu", set()),
    ],
)
def test_of_llama_cpp_what_lies_on_gpus_as_a_whole_has_a_speed(stack: str, known: set[str]) -> None:
    plan = json.loads((ROOT / "generated" / stack / "plan.json").read_text())
    assert {speed["service"] for speed in plan["speed"]} == known
    assert all(speed["promised"] is None and speed["full"] is None for speed in plan["speed"])
    assert all(speed["alone"]["mark"] == "thin" for speed in plan["speed"])


def test_every_card_of_the_catalogue_has_figures_or_is_known_to_have_none() -> None:
    assert set(GPUS) - set(CARDS) == NO_FIGURES
    for name in set(GPUS) & set(CARDS):
        card, gpu = CARDS[name], GPUS[name]
        assert card.bandwidth == pytest.approx(gpu.bandwidth, rel=0.02), name
        if card.kind is CardClass.CDNA:
            continue
        # Units for FP8 came with Ada, those for FP4 with Blackwell.
        assert (card.fp8 is not None) == (gpu.compute_capability >= (8, 9)), name
        assert (card.fp4 is not None) == (gpu.compute_capability >= (10, 0)), name


def paths(value: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if isinstance(value, float):
        return {path}
    if dataclasses.is_dataclass(value):
        each = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        each = {str(key): inner for key, inner in value.items()}
    return set().union(*(paths(inner, (*path, key)) for key, inner in each.items()))


def test_each_constant_is_fitted_or_an_assumption_and_none_is_at_the_end_of_what_makes_sense() -> None:
    fitted = {tuple(str(word) for word in each.path if word): each for each in parameters()}
    plain = {("formats", "bf16", "bandwidth"), ("formats", "bf16", "compute")}
    assert paths(FITTED) - set(fitted) == plain | {(name,) for name in NOT_FITTED}
    for each in fitted.values():
        low, high = each.limits
        assert low < each.of(FITTED) < high, each.path
