"""`stackc gpus --prices`: what an hour of each card was offered for."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from compiler.catalog.hardware.gpus import GPUS, Gpu
from compiler.cli.report import finish
from compiler.cli.run.cost.lines import source_lines
from compiler.cli.run.cost.offers import price_object
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.prices.dates import age_text
from compiler.prices.rentals import PriceRange, price_ranges
from compiler.prices.text import range_text
from compiler.prices.user import user_prices
from compiler.report.paint import Line
from compiler.report.table import Column, table_lines
from compiler.source.user_file import user_files
from compiler.units import format_gib

_COLUMNS = (
    Column("GPU"),
    Column("GiB", is_right=True, rank=3),
    Column("let as"),
    Column("an hour", is_right=True),
    Column("offers", is_right=True, rank=2),
    Column("newest", rank=1),
    Column("age", rank=1),
)


def run(form: str, *, sources: bool) -> NoReturn:
    """Print it, and end the run."""
    today = dt.datetime.now(dt.UTC).date()
    user, diagnostics = user_prices(user_files(Path("stacks")), today)
    ordered = sorted(GPUS.values(), key=lambda gpu: (gpu.memory, gpu.name))
    found = [(gpu, price_ranges(gpu.name, own=user.rentals)) for gpu in ordered]
    result = {"gpus": [{"name": gpu.name, "prices": list(map(price_object, ranges))} for gpu, ranges in found]}
    finish(form, diagnostics, result=result, lines=[*_lines(found, today), *(_sources(found) if sources else ())])


def _lines(found: Sequence[tuple[Gpu, Sequence[PriceRange]]], today: dt.date) -> Iterator[str | Line]:
    rows = [row for gpu, ranges in found for row in _rows(gpu, ranges, today)]
    yield from table_lines(_COLUMNS, rows, terminal_width(), glyphs_of(sys.stdout))
    unknown = [gpu.name for gpu, ranges in found if not ranges]
    yield from wrapped(f"no offer is known of {', '.join(unknown)}", indent=0)


def _sources(found: Sequence[tuple[Gpu, Sequence[PriceRange]]]) -> Iterator[str]:
    for gpu, ranges in found:
        for price in ranges:
            yield f"{gpu.name}, {price.kind}, {price.currency} an hour"
            yield from source_lines(price)


def _rows(gpu: Gpu, ranges: Sequence[PriceRange], today: dt.date) -> Iterator[tuple[str, ...]]:
    """One for each kind of offer, the cheapest first; the card's name stands in the first."""
    cheapest_first = sorted(ranges, key=lambda each: (not each.is_users, each.per_gpu_hour.low))
    for index, price in enumerate(cheapest_first):
        name, memory = (gpu.name, format_gib(gpu.memory)) if index == 0 else ("", "")
        newest = price.dates[-1] if price.dates else None
        kind = f"yours, {price.kind}" if price.is_users else price.kind.value
        amounts = f"{range_text(price.per_gpu_hour)} {price.currency}"
        yield name, memory, kind, amounts, str(len(price.offers)), newest or "undated", age_text(newest, today)
