"""What of a model is worked out instead of looked up: the machines that hold it, and its speed and price there."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compiler.choose.candidates import Candidates, candidates_of
from compiler.choose.least import COUNTS, Least, least_machines, usual_demand
from compiler.cli.run.fit.document import card_object
from compiler.cli.run.fit.table import price_cell, rate_cell, speed_meanings
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.prices.user import user_prices
from compiler.registry.entry import ModelEntry
from compiler.report.paint import Line
from compiler.report.table import Column, table_lines
from compiler.source.user_file import SPECS, user_files
from compiler.units import format_gib, format_tokens

_COLUMNS = (
    Column("stored as", least=8),
    Column("smallest machine", least=12),
    Column("GiB each", is_right=True),
    Column("download", is_right=True),
    Column("alone", is_right=True),
    Column("an hour", is_right=True),
)
_NOTHING = "–"


@dataclass(frozen=True, slots=True)
class WorkedOut:
    """What is worked out.

    Attributes:
        lines: for people, below what is looked up.
        result: for programs, beside `model`.
    """

    lines: Sequence[str | Line] = ()
    result: dict[str, Any] = field(default_factory=dict)


def worked_out(entry: ModelEntry) -> WorkedOut:
    """The smallest machine for each way in which its weights are stored, proved by the arithmetic of `stackc fit`."""
    found, demand = candidates_of(entry), usual_demand(entry)
    prices, _ = user_prices(user_files(Path(SPECS)), dt.datetime.now(dt.UTC).date())
    rows = list(least_machines(found, demand, own=prices.rentals))
    objects = [_object(row) for row in rows]
    unplannable = {each.repository: each.reason for each in found.unplannable}
    asked = {"context": demand.context, "concurrency": demand.concurrency, "task": demand.task}
    result = {"fits": {"asked": asked, "least": objects, "unplannable": unplannable}}
    return WorkedOut(list(_lines(rows, found, demand.context or 0)), result)


def _object(row: Least) -> dict[str, Any]:
    code, reason = row.refusal or (None, None)
    answer = None if row.answer is None else card_object(row.answer)
    return {
        "quantization": row.method,
        "repositories": list(row.repositories),
        "download_bytes": None if row.answer is None else row.answer.fit.weights,
        "machine": answer,
        "code": code,
        "reason": reason,
    }


def _lines(rows: Sequence[Least], found: Candidates, context: int) -> Iterator[str | Line]:
    yield ""
    if rows:
        asked = f"one request of {format_tokens(context)} tokens"
        yield from wrapped(f"smallest machines, proved, for {asked}: the fewest GPUs, then the least memory", 0)
        cells = list(map(_cells, rows))
        yield from table_lines(_COLUMNS, cells, terminal_width(), glyphs_of(sys.stdout))
    for words in (*_notes(rows), *_unplannable(found)):
        yield from wrapped(words, 2)


def _cells(row: Least) -> tuple[str, ...]:
    answer = row.answer
    if answer is None:
        return (row.method, "refused" if row.refusal else "none", *(_NOTHING,) * 4)
    machine = answer.gpu.name if answer.count == 1 else f"{answer.count} × {answer.gpu.name}"
    return (
        row.method,
        machine,
        format_gib(answer.gpu.memory),
        _NOTHING if answer.fit.weights is None else format_gib(answer.fit.weights),
        _NOTHING if answer.speed is None else rate_cell(answer.speed.alone, answer.speed.alone.speed.request_rate),
        price_cell(answer),
    )


def _notes(rows: Sequence[Least]) -> Iterator[str]:
    if any(row.answer is None and row.refusal is None for row in rows):
        yield f"none: it fits on no machine of at most {COUNTS[-1]} GPUs of the catalog"
    for row in rows:
        if row.refusal is not None:
            yield f"{row.method}: {row.refusal[1]} [{row.refusal[0]}]"
    answers = [row.answer for row in rows if row.answer is not None]
    if answers:
        yield "download: GiB of weights, about as many on disk; `stackc fit` says what each card holds"
    yield from speed_meanings([each.speed for each in answers if each.speed is not None])


def _unplannable(found: Candidates) -> Iterator[str]:
    """Repositories that are not planned from here, by reason."""
    reasons: dict[str, list[str]] = {}
    for each in found.unplannable:
        reasons.setdefault(each.reason, []).append(each.repository)
    for reason, names in reasons.items():
        yield f"not planned from here, {reason}: {', '.join(names)}"
