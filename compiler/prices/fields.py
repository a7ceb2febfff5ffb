"""Keys of a row of the user's prices and hardware: what each takes, and what is wrong with a value."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from compiler.catalog.hardware.gpus import GPUS, same_gpus
from compiler.prices.currencies import CURRENCIES, unit_factor
from compiler.prices.dates import first_day
from compiler.prices.rentals import Kind


class Form(Enum):
    """What a value is."""

    GPU = auto()
    CURRENCY = auto()
    AMOUNT = auto()
    NUMBER = auto()
    COUNT = auto()
    KIND = auto()
    DATE = auto()
    TEXT = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """A key.

    Attributes:
        meaning: of the key, as a help says it.
        low, high: of numbers; of amounts in a currency whose unit is worth about a dollar.
        is_above: `low` itself is too little.
    """

    form: Form
    meaning: str
    low: float = 0
    high: float = math.inf
    is_required: bool = True
    is_above: bool = False


PRICE: Mapping[str, Field] = {
    "gpu": Field(Form.GPU, "a card of `stackc gpus`"),
    "per_hour": Field(Form.AMOUNT, "what an hour of one GPU costs", high=100, is_above=True),
    "currency": Field(Form.CURRENCY, "of `per_hour`, such as USD"),
    "kind": Field(Form.KIND, f"how it is let: {', '.join(Kind)}"),
    "date": Field(Form.DATE, "the day on which that was the price, such as 2026-11-09"),
    "provider": Field(Form.TEXT, "who lets it", is_required=False),
    "region": Field(Form.TEXT, "where it stands", is_required=False),
    "gpus": Field(Form.COUNT, "in the machine that is let, if it is let as a whole", 1, 1024, is_required=False),
}

HARDWARE: Mapping[str, Field] = {
    "gpu": Field(Form.GPU, "a card of `stackc gpus`"),
    "count": Field(Form.COUNT, "how many of them are in the machine", 1, 1024),
    "currency": Field(Form.CURRENCY, "of `purchase` and `kwh_price`, such as EUR"),
    "purchase": Field(Form.AMOUNT, "what the whole machine cost", high=1e8),
    "lifetime_years": Field(Form.NUMBER, "over which you spread that", 0.1, 30),
    "load": Field(Form.NUMBER, "the share of a board's limit that it draws on average, such as 0.6", 0, 1),
    "host_watts": Field(Form.NUMBER, "what all else in the machine draws", 0, 20_000),
    "kwh_price": Field(Form.AMOUNT, "what a kilowatt-hour costs you", high=10),
    "pue": Field(Form.NUMBER, "what the building takes for each watt of the machine, 1 at home", 1, 5),
    "board_watts": Field(
        Form.NUMBER, "one card's limit, if you set another than the vendor's", 1, 3000, is_required=False
    ),
}


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a value cannot be used: a code, what is wrong, facts, and what would do."""

    code: str
    message: str
    notes: tuple[str, ...] = ()
    help: str | None = None


_LONGEST = 80
_CURRENCY = re.compile(r"[A-Z]{3}")


def problem(key: str, field: Field, value: Any, currency: Any) -> Wrong | None:
    """What is wrong with a value; None where nothing is.

    Args:
        currency: as the row has it, right or not: what is absurd in dollars is not in rupiah.
    """
    if field.form is Form.GPU:
        return _gpu(value)
    if field.form is Form.CURRENCY:
        return _currency(value)
    if field.form is Form.KIND:
        return None if value in list(Kind) else Wrong("E0203", f"`{key}` is none of {', '.join(Kind)}")
    if field.form is Form.DATE:
        return _date(value)
    if field.form is Form.TEXT:
        is_text = isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()
        return None if is_text else Wrong("E0203", f"`{key}` is no text of at most {_LONGEST} characters")
    return _number(key, field, value, currency)


def _gpu(value: Any) -> Wrong | None:
    if isinstance(value, str) and value in GPUS:
        return None
    meant = same_gpus(value[:_LONGEST]) if isinstance(value, str) else ()
    help_ = f"write {' or '.join(f'`{name}`' for name in meant)}" if meant else "take a name of `stackc gpus`"
    return Wrong("E0206", f"unknown GPU `{str(value)[:_LONGEST]}`", help=help_)


def _currency(value: Any) -> Wrong | None:
    if isinstance(value, str) and value in CURRENCIES:
        return None
    upper = value.upper() if isinstance(value, str) else ""
    help_ = f"write `{upper}`" if upper in CURRENCIES else "write its code of ISO 4217, such as USD, EUR or CHF"
    return Wrong("E0701", f"unknown currency `{str(value)[:_LONGEST]}`", help=help_)


def _date(value: Any) -> Wrong | None:
    try:
        first_day(value if isinstance(value, str) else "")
    except ValueError:
        return Wrong("E0203", "`date` is no day such as 2026-11-09, and no month such as 2026-11")
    return None


def _number(key: str, field: Field, value: Any, currency: Any) -> Wrong | None:
    wants = int if field.form is Form.COUNT else int | float
    if isinstance(value, bool) or not isinstance(value, wants) or not _is_finite(value):
        return Wrong("E0203", f"`{key}` is no {'whole ' if field.form is Form.COUNT else ''}number")
    is_amount = field.form is Form.AMOUNT
    high = field.high * (unit_factor(str(currency)) if is_amount else 1)
    high = math.inf if is_amount and str(currency) not in CURRENCIES else high
    if field.low <= value <= high and not (field.is_above and value == field.low):
        return None
    bounds = f"{'more than ' if field.is_above else ''}{field.low:g}"
    bounds += "" if high == math.inf else f" to {high:,.15g}{f' {currency}' if is_amount else ''}"
    return Wrong("E0702", f"`{key}` cannot be {value:.15g}", (f"{field.meaning}: {bounds}",))


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_to_come(date: str, today: dt.date) -> bool:
    """Whether a date lies after today, by more than the clocks of the world differ."""
    return (first_day(date) - today).days > 1
