"""The user's own prices and hardware: what wins, what is asked and never assumed, and what a slip is told."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.diagnostics import CODES, Diagnostic, SourceText, has_errors
from compiler.prices.machines import machine_cost, totals
from compiler.prices.owned import HOURS_PER_MONTH, Owned
from compiler.prices.ranges import Range
from compiler.prices.rentals import Kind, price_ranges
from compiler.prices.user import UserPrices, read_user_prices, user_prices

TODAY = dt.date(2026, 11, 30)
PRICE = "{gpu: l40s, per_hour: 0.85, currency: EUR, kind: on-demand, date: 2026-11-09}"
MACHINE = (
    "{gpu: l40s, count: 2, currency: EUR, purchase: 24000, lifetime_years: 4, load: 0.5, host_watts: 300, "
    "kwh_price: 0.3, pue: 1.2}"
)


def read(text: str) -> tuple[UserPrices, tuple[Diagnostic, ...]]:
    return read_user_prices(SourceText("models.yaml", text), TODAY)


def test_rows_without_fault_are_read_as_they_stand() -> None:
    found, problems = read(f"prices: [{PRICE}]\nhardware: [{MACHINE}]\n")
    assert problems == ()
    (rental,), (machine,) = found.rentals, found.owned
    assert (rental.per_hour, rental.currency, rental.is_users) == (0.85, "EUR", True)
    assert (machine.purchase, machine.count, machine.currency) == (24000, 2, "EUR")


@pytest.mark.parametrize(
    ("code", "row", "words"),
    [
        ("E0701", PRICE.replace("EUR", "euro"), "unknown currency `euro`"),
        ("E0701", PRICE.replace("EUR", "eur"), "unknown currency `eur`"),
        ("E0702", PRICE.replace("0.85", "0"), "`per_hour` cannot be 0"),
        ("E0702", PRICE.replace("0.85", "850"), "`per_hour` cannot be 850"),
        ("E0702", PRICE.replace("0.85", "-1"), "`per_hour` cannot be -1"),
        ("E0203", PRICE.replace("0.85", ".nan"), "`per_hour` is no number"),
        ("E0203", PRICE.replace("0.85", "true"), "`per_hour` is no number"),
        ("E0203", PRICE.replace("on-demand", "borrowed"), "`kind` is none of"),
        ("E0203", PRICE.replace("2026-11-09", "yesterday"), "no day such as"),
        ("E0203", PRICE.replace("2026-11-09", "2027-02-01"), "yet to come"),
        ("E0206", PRICE.replace("l40s", "l41"), "unknown GPU `l41`"),
        ("E0201", PRICE.replace("per_hour", "per_hours"), "unknown key `per_hours`"),
        ("E0703", PRICE.replace("date: 2026-11-09", "region: home"), "has no `date`"),
    ],
)
def test_a_price_that_cannot_be_used_is_left_out_and_told_where_it_stands(code: str, row: str, words: str) -> None:
    found, problems = read(f"prices:\n  - {row}\n")
    assert found.rentals == ()
    assert code in {each.code for each in problems}
    assert any(words in each.message for each in problems)
    assert all(each.label is not None and each.label.span.start.line == 2 for each in problems)
    assert has_errors(problems)


@pytest.mark.parametrize("key", ["purchase", "lifetime_years", "load", "host_watts", "kwh_price", "pue", "currency"])
def test_no_figure_of_a_machine_is_assumed(key: str) -> None:
    without = ", ".join(part for part in MACHINE.strip("{}").split(", ") if not part.startswith(f"{key}:"))
    found, problems = read(f"hardware: [{{{without}}}]\n")
    assert found.owned == ()
    (problem,) = problems
    assert problem.code == "E0703"
    assert f"`{key}`" in problem.message


@pytest.mark.parametrize(
    "wrong", ["pue: 0.9", "pue: 50", "load: 1.5", "lifetime_years: 0", "kwh_price: 300", "host_watts: -1"]
)
def test_figures_that_cannot_be_are_refused(wrong: str) -> None:
    key = wrong.partition(":")[0]
    row = ", ".join(wrong if part.startswith(f"{key}:") else part for part in MACHINE.strip("{}").split(", "))
    found, problems = read(f"hardware: [{{{row}}}]\n")
    assert found.owned == ()
    assert [each.code for each in problems] == ["E0702"]


def test_a_machine_of_one_currency_is_not_absurd_for_being_cheap_in_another() -> None:
    """A card for 14,000 rupiah an hour is no slip."""
    found, problems = read(f"prices: [{PRICE.replace('0.85', '14000').replace('EUR', 'IDR')}]\n")
    assert problems == ()
    assert found.rentals[0].per_hour == 14000


def test_two_currencies_make_no_range() -> None:
    found, problems = read(f"prices:\n  - {PRICE}\n  - {PRICE.replace('EUR', 'USD')}\n")
    assert [each.code for each in problems] == ["E0704"]
    assert [each.currency for each in found.rentals] == ["EUR"]


def test_an_old_price_counts_and_says_its_age() -> None:
    found, problems = read(f"prices: [{PRICE.replace('2026-11-09', '2024-11')}]\n")
    assert len(found.rentals) == 1
    (warning,) = problems
    assert warning.code == "W0701"
    assert "2 years" in warning.message
    assert CODES["W0701"].severity == "warning"


def test_the_file_beside_the_stacks_wins_over_that_of_the_user(tmp_path: Path) -> None:
    near, far = tmp_path / "near.yaml", tmp_path / "far.yaml"
    near.write_text(f"prices: [{PRICE}]\n")
    far.write_text(
        f"prices: [{PRICE.replace('0.85', '9')}, {PRICE.replace('on-demand', 'spot')}]\nhardware: [{MACHINE}]\n"
    )
    found, problems = user_prices([near, far], TODAY)
    assert problems == ()
    assert [(each.kind, each.per_hour) for each in found.rentals] == [(Kind.ON_DEMAND, 0.85), (Kind.SPOT, 0.85)]
    assert len(found.owned) == 1


def test_own_prices_take_the_place_of_what_ships_and_only_of_that_kind() -> None:
    own = read(f"prices: [{PRICE}]\n")[0].rentals
    ranges = {each.kind: each for each in price_ranges("l40s", own=own)}
    assert ranges[Kind.ON_DEMAND].per_gpu_hour == Range.exact(0.85)
    assert ranges[Kind.SPOT] == next(each for each in price_ranges("l40s") if each.kind is Kind.SPOT)


def test_a_machine_of_ones_own_is_counted_before_any_price() -> None:
    user, _ = read(f"prices: [{PRICE}]\nhardware: [{MACHINE}]\n")
    assert isinstance(machine_cost("l40s", 2, user).counted, Owned)
    assert not isinstance(machine_cost("l40s", 2, user, kind=Kind.SPOT).counted, Owned)
    larger = machine_cost("l40s", 4, user).counted
    assert larger is not None
    assert not isinstance(larger, Owned), "it has two cards only"
    assert larger.per_hour == Range.exact(4 * 0.85)


def test_a_machine_costs_its_wear_always_and_its_power_while_it_runs() -> None:
    machine = read(f"hardware: [{MACHINE.replace('pue: 1.2', 'pue: 1.2, board_watts: 300')}]\n")[0].owned[0]
    # (2 × 300 W × 0.5 + 300 W) × 1.2 = 0.72 kW
    assert machine.kilowatts == Range.exact(0.72)
    assert machine.capital_per_hour == 24000 / (4 * 8766)
    idle, full = machine.per_month(0), machine.per_month(730)
    assert idle == Range.exact(24000 / (4 * 8766) * HOURS_PER_MONTH)
    assert full.low - idle.low == pytest.approx(0.72 * 0.3 * 730)


def test_sums_of_two_currencies_stay_two() -> None:
    euros, _ = read(f"prices: [{PRICE}]\n")
    costs = [machine_cost("l40s", 1, euros), machine_cost("rtx-5090", 1, euros), machine_cost("l40s", 2, euros)]
    found = totals(costs, 100)
    assert set(found) == {"EUR", "USD"}
    assert found["EUR"].per_hour == Range.exact(3 * 0.85)
    assert found["EUR"].per_month.low == pytest.approx(255)


@given(st.text(max_size=200))
def test_any_text_is_read_or_told(text: str) -> None:
    found, problems = read(text)
    assert isinstance(found, UserPrices)
    assert all(each.code in CODES for each in problems)


YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["l40s", "EUR", "on-demand", "2026-11"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["gpu", "per_hour", "currency", "kind", "date", "count", "pue", "gpus"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["prices", "hardware", "models", "price"]), YAML, max_size=3))
def test_rows_of_any_shape_are_read_or_told(data: dict[str, object]) -> None:
    found, problems = read(json.dumps(data))
    rows = [rows for name in ("prices", "hardware") if (rows := data.get(name)) is not None]
    wanted = sum(len(each) if isinstance(each, list) else 1 for each in rows)
    assert len(found.rentals) + len(found.owned) == wanted or has_errors(problems)
