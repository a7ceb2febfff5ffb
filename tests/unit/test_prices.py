"""Prices that ship, and what follows: ranges, dates, costs of tokens, and the load at which two ways are even."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.catalog.hardware.gpus import GPUS
from compiler.prices.costs import Request, break_even, hosted_request, per_million, token_cost
from compiler.prices.data_files import sources
from compiler.prices.dates import age_text, first_day
from compiler.prices.hosted import Hosted, Quartiles, hosted_models, hosted_price
from compiler.prices.machines import machine_cost
from compiler.prices.power import board_powers
from compiler.prices.ranges import Range
from compiler.prices.rentals import Kind, Reliability, Rental, price_ranges, rentals
from compiler.prices.text import amount_text, count_range_text, range_text
from compiler.prices.user import UserPrices

AMOUNT = st.floats(0.001, 1e6)
SPEED = st.tuples(*[st.floats(0.1, 1e5)] * 3).map(lambda each: tuple(sorted(each)))
REQUEST = st.builds(Request, st.integers(1, 10**6), st.integers(1, 10**6))


def offer(per_hour: float, **fields: object) -> Rental:
    known = {"id": "x", "gpu": "l40s", "kind": Kind.ON_DEMAND, "source": "x", "reliability": Reliability.PRIMARY}
    return Rental(per_hour=per_hour, is_users=True, **{**known, **fields})  # type: ignore[arg-type]


def hosted(prompt: float, answer: float) -> Hosted:
    quartiles = [Quartiles(each / 4, each / 2, each, each * 2, each * 4) for each in (prompt, answer)]
    return Hosted("a/model", 9, *quartiles, "2026-07-02", "models-dev")


def test_every_price_that_ships_names_a_card_and_a_source() -> None:
    for rental in rentals():
        assert rental.gpu in GPUS, rental.id
        assert rental.source in sources(), rental.id
        assert 0 < rental.per_hour < 100, rental.id
        assert rental.date is None or first_day(rental.date) <= dt.date(2026, 12, 31), rental.id
    assert len({rental.id for rental in rentals()}) == len(rentals())
    assert [rental.id for rental in rentals()] == sorted(rental.id for rental in rentals())


def test_what_hosts_ask_is_in_order_and_dated() -> None:
    for each in hosted_models().values():
        assert each.source in sources()
        assert first_day(each.date)
        for asked in (each.input, each.output):
            figures = (asked.low, asked.first, asked.median, asked.third, asked.high)
            assert all(low <= high for low, high in pairwise(figures)), each.id
        assert each.input.median <= each.output.median, f"{each.id}: answers cost more than prompts"


def test_board_limits_are_of_cards_of_the_catalogue() -> None:
    assert board_powers().keys() <= GPUS.keys()
    assert all(1 <= each.watts.low <= each.watts.high <= 3000 for each in board_powers().values())


def test_two_offers_are_a_range_and_never_their_mean() -> None:
    ranges = price_ranges("h100-80gb")
    on_demand = next(each for each in ranges if each.kind is Kind.ON_DEMAND)
    assert len(on_demand.offers) > 1
    assert on_demand.per_gpu_hour.low < on_demand.per_gpu_hour.high
    assert {on_demand.per_gpu_hour.low, on_demand.per_gpu_hour.high} <= {each.per_hour for each in on_demand.offers}


def test_machines_that_are_let_whole_are_counted_whole() -> None:
    own = [offer(2, gpus=8)]
    (found,) = (each for each in price_ranges("l40s", 3, own=own) if each.is_users)
    assert found.per_hour == Range.exact(16)
    (found,) = (each for each in price_ranges("l40s", 9, own=own) if each.is_users)
    assert found.per_hour == Range.exact(32)


def test_currencies_are_ranges_of_their_own() -> None:
    own = [offer(2, currency="EUR"), offer(3, currency="USD", id="y")]
    found = [each for each in price_ranges("l40s", own=own) if each.kind is Kind.ON_DEMAND]
    assert [(each.currency, each.per_gpu_hour) for each in found] == [("EUR", Range.exact(2)), ("USD", Range.exact(3))]


def test_a_provider_that_lets_no_such_card_leaves_nothing_counted() -> None:
    cost = machine_cost("l40s", 1, UserPrices(), provider="nobody")
    assert cost.counted is None
    assert cost.offers == ()


@given(st.lists(AMOUNT, min_size=1, max_size=6), st.integers(1, 16))
def test_more_cards_never_cost_less(amounts: list[float], count: int) -> None:
    own = [offer(each, id=str(index), gpus=1 + index % 8) for index, each in enumerate(amounts)]
    fewer, more = (
        next(each for each in price_ranges("l40s", many, own=own) if each.is_users).per_hour
        for many in (1, count)
    )  # fmt: skip
    if all(each.gpus == 1 for each in own):
        assert more == fewer * count
    assert more.low >= min(amounts) * count * 0.999999


@pytest.mark.parametrize(
    ("date", "age"),
    [
        ("2026-11-30", "0 days"),
        ("2026-11-29", "1 day"),
        ("2026-07", "5 months"),
        ("2023-11", "3 years"),
        (None, "unknown"),
    ],
)
def test_ages_are_told_in_what_people_count_in(date: str | None, age: str) -> None:
    assert age_text(date, dt.date(2026, 11, 30)) == age


@pytest.mark.parametrize("date", ["", "2026", "2026-13", "2026-02-30", "26-01-01", "2026-1-1"])
def test_what_is_no_day_is_none(date: str) -> None:
    with pytest.raises(ValueError, match=r"day|month|isoformat"):
        first_day(date)


@pytest.mark.parametrize("bounds", [(2, 1), (-1, 1), (0, float("inf")), (float("nan"), 1)])
def test_what_is_no_range_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not a range"):
        Range(*bounds)


HOUR = st.tuples(AMOUNT, AMOUNT).map(lambda each: Range(min(each), max(each)))


@given(HOUR, SPEED, st.floats(0.01, 1), REQUEST, st.tuples(AMOUNT, AMOUNT))
def test_however_a_bill_is_told_it_is_the_same_bill(
    hour: Range, speed: tuple[float, float, float], share: float, request: Request, asked: tuple[float, float]
) -> None:
    cost = token_cost(hour, speed, share, request, hosted(*asked))
    assert cost.as_hosts is not None
    prompts, answers = cost.as_hosts
    for bound in ("low", "high"):
        bill = getattr(cost.output, bound) * request.output
        assert getattr(cost.blended, bound) * (request.input + request.output) == pytest.approx(bill)
        assert getattr(prompts, bound) * request.input + getattr(answers, bound) * request.output == pytest.approx(bill)
        assert getattr(prompts, bound) / getattr(answers, bound) == pytest.approx(asked[0] / asked[1])
    # The dearest is at the dearest hour and the slowest speed.
    assert cost.output.high == pytest.approx(hour.high / (speed[0] * share * 3600) * 1e6)


@given(AMOUNT, SPEED, st.floats(0.01, 0.99))
def test_idle_hours_make_tokens_dearer(hour: float, speed: tuple[float, float, float], share: float) -> None:
    idle, full = (per_million(Range.exact(hour), speed, each) for each in (share, 1))
    assert idle.low > full.low
    assert idle.high > full.high


@given(AMOUNT, SPEED, REQUEST, st.tuples(AMOUNT, AMOUNT), st.floats(1, 744))
def test_at_break_even_both_ways_cost_the_same(
    monthly: float, speed: tuple[float, float, float], request: Request, asked: tuple[float, float], hours: float
) -> None:
    even = break_even(Range.exact(monthly), hosted(*asked), request, speed, hours)
    assert even is not None
    _, median, _ = hosted_request(hosted(*asked), request)
    assert even.requests.low * median == pytest.approx(monthly)
    assert even.share is not None
    assert even.is_out_of_reach == (speed[2] * 3600 * hours / request.output < even.requests.low)


def test_hosts_that_ask_nothing_are_never_dearer() -> None:
    assert break_even(Range.exact(100), hosted(0, 0), Request(10, 10), (1, 2, 3), 730) is None
    assert token_cost(Range.exact(1), (1, 2, 3), 1, Request(10, 10), hosted(0, 0)).as_hosts is None


def test_a_quantized_model_is_compared_with_hosts_of_what_it_was_made_from() -> None:
    found = hosted_price(["somebody/Qwen3-32B-AWQ", "qwen/qwen3-32b"])
    assert found is not None
    assert found.id == "Qwen/Qwen3-32B"
    assert hosted_price(["somebody/else"]) is None


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0.00"), (0.00531, "0.0053"), (0.1, "0.10"), (21.9, "21.90"), (1599.4, "1,599")]
)
def test_amounts_are_shown_as_exactly_as_they_mean_something(amount: float, text: str) -> None:
    assert amount_text(amount) == text


def test_ranges_that_look_alike_are_one_amount() -> None:
    assert range_text(Range(1.291, 1.292)) == "1.29"
    assert range_text(Range(1.29, 2.19)) == "1.29 – 2.19"
    assert count_range_text(Range(4_521_396, 7_963_823)) == "4.5 – 8 million"
    assert count_range_text(Range(12_345, 1_834_567)) == "12,000 – 1,800,000"
    assert count_range_text(Range(3, 3)) == "3"
