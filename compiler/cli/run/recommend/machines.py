"""`stackc recommend --model`: the machines that one model runs on, for people and for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from compiler.catalog.hardware.gpus import GPUS
from compiler.choose.recommend.choice import Choice
from compiler.choose.recommend.reverse import Machines
from compiler.choose.recommend.wish import DEFAULT_CONTEXT
from compiler.cli.run.recommend.document import choice_object, grade_object, wish_object
from compiler.cli.run.recommend.lines import evidence_words
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.prices.text import range_text
from compiler.registry.read import Registry
from compiler.report.paint import Line
from compiler.report.table import Column, table_lines
from compiler.units import counted, format_gib, format_tokens

_SHOWN = 12


def machines_object(found: Machines, known: Registry) -> dict[str, Any]:
    """All of them."""
    return {
        "wish": wish_object(found.wish),
        "model": found.entry.id,
        "grade": grade_object(found.grade),
        "lacks": dict(found.lacks),
        "unplannable": found.unplannable,
        "owned": [choice_object(choice, known) for choice in found.owned],
        "machines": [choice_object(choice, known) for choice in found.let],
        "cards_tried": found.tried,
    }


def machines_lines(found: Machines, *, shows_all: bool) -> Iterator[str | Line]:
    """Owned ones, then the cheapest."""
    wish = found.wish
    length = DEFAULT_CONTEXT if wish.context is None else wish.context
    asked = f"{counted(wish.at_once, 'request')} of {format_tokens(length)} at once"
    yield from wrapped(f"{found.entry.id} for {wish.task}, {asked}: {evidence_words(found.grade)}", indent=0)
    for name, lack in found.lacks.items():
        yield from wrapped(f"not what is asked by {name}: {lack}", indent=0)
    if found.unplannable is not None:
        yield from wrapped(f"no plan can be made of it: {found.unplannable}", indent=0)
        return
    if found.owned:
        yield from _table("yours", found.owned)
    if found.let:
        yield from _table("GPUs", found.let if shows_all else found.let[:_SHOWN])
    left = len(found.let) - _SHOWN
    if left > 0 and not shows_all:
        yield f"and {left} dearer or without a price: --all lists them"
    yield from wrapped(
        f"proved to do what is asked on {len(found.let)} of {counted(found.tried, 'kind')} of cards, with 1, 2, 4 or 8 "
        "of each; tokens/s of each request, where 9 of 10 measurements lie",
        indent=0,
    )


_COLUMNS = (
    Column("GiB", is_right=True, rank=2),
    Column("as", least=5),
    Column("context", is_right=True, rank=1),
    Column("tokens/s", is_right=True),
    Column("an hour", is_right=True),
)


def _table(title: str, choices: Sequence[Choice]) -> Iterator[Line]:
    rows = [_row(choice) for choice in choices]
    yield from table_lines((Column(title), *_COLUMNS), rows, terminal_width(), glyphs_of(sys.stdout))


def _row(choice: Choice) -> tuple[str, ...]:
    cards, speed = choice.proof.cards, choice.speed
    rate = "" if speed is None else f"{speed.request_rate.low:.0f}–{speed.request_rate.high:.0f}"
    price = "" if choice.per_hour is None else f"{range_text(choice.per_hour)} {choice.currency}"
    memory = format_gib(GPUS[cards.gpu].memory * cards.count)
    length = format_tokens(choice.proof.context)
    return f"{cards.count} × {cards.gpu}", memory, choice.checkpoint.form, length, rate, price
