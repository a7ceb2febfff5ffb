"""The user's own prices and hardware: `prices` and `hardware` of a `models.yaml` (compiler/source/user_file.py)."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.diagnostics import Diagnostic, Help, Label, SourceText, has_errors
from compiler.diagnostics.model import Span
from compiler.prices.dates import STALE_DAYS, age_text, days_old
from compiler.prices.fields import HARDWARE, PRICE, Field, is_to_come, problem
from compiler.prices.owned import Owned
from compiler.prices.power import board_powers
from compiler.prices.ranges import Range
from compiler.prices.rentals import Kind, Reliability, Rental
from compiler.source.document import MAX_BYTES, Document, load_document
from compiler.source.text import read_source
from compiler.source.user_file import USER_KEYS

_MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class UserPrices:
    """What the user's files say, the most specific file first."""

    rentals: tuple[Rental, ...] = ()
    owned: tuple[Owned, ...] = ()


def user_prices(paths: Sequence[Path], today: dt.date) -> tuple[UserPrices, tuple[Diagnostic, ...]]:
    """What several files say together. The first with prices of a card and kind is heard, or with machines of a card.

    Args:
        paths: as `user_files` gives them.
    """
    found = UserPrices()
    diagnostics: tuple[Diagnostic, ...] = ()
    for path in paths:
        read, problems = _read_path(path, today)
        found, diagnostics = _over(found, read), (*diagnostics, *problems)
    return found, diagnostics


def _read_path(path: Path, today: dt.date) -> tuple[UserPrices, tuple[Diagnostic, ...]]:
    try:
        source, wrong = read_source(path, str(path), MAX_BYTES)
    except OSError as error:
        return UserPrices(), (Diagnostic("E0104", f"{path} cannot be read: {error.strerror or error}"),)
    return (UserPrices(), (wrong,)) if wrong is not None else read_user_prices(source, today)


def _over(first: UserPrices, second: UserPrices) -> UserPrices:
    priced = {(each.gpu, each.kind) for each in first.rentals}
    owned = {each.gpu for each in first.owned}
    return UserPrices(
        (*first.rentals, *(each for each in second.rentals if (each.gpu, each.kind) not in priced)),
        (*first.owned, *(each for each in second.owned if each.gpu not in owned)),
    )


def read_user_prices(source: SourceText, today: dt.date) -> tuple[UserPrices, tuple[Diagnostic, ...]]:
    """One file. Rows that cannot be used are left out, each with a finding that is an error."""
    document, problems = load_document(source)
    if document is None:
        return UserPrices(), problems
    if not isinstance(document.data, dict):
        message = f"{source.name} is no map with the keys {', '.join(USER_KEYS)}"
        return UserPrices(), (Diagnostic("E0203", message, Label(document.value(()))),)
    found = [_unknown(document, (key,), USER_KEYS) for key in document.data if key not in USER_KEYS]
    rentals = _rentals(document, today, found)
    owned = [_owned(document, index) for index in _rows(document, "hardware", HARDWARE, found)]
    found += [each for each in owned if isinstance(each, Diagnostic)]
    return UserPrices(rentals, tuple(each for each in owned if isinstance(each, Owned))), tuple(found)


def _rentals(document: Document, today: dt.date, found: list[Diagnostic]) -> tuple[Rental, ...]:
    """The prices that can be used; what is wrong with the others is added to what was found."""
    kept: list[Rental] = []
    first: dict[tuple[str, Kind], tuple[str, Span]] = {}
    for index in _rows(document, "prices", PRICE, found):
        rental = _rental(document, index)
        span = document.value(("prices", index, "currency"))
        currency, place = first.setdefault((rental.gpu, rental.kind), (rental.currency, span))
        problems = [*_age(document, index, rental, today)]
        if currency != rental.currency:
            problems.append(_mixed(rental, span, currency, place))
        found += problems
        if not has_errors(problems):
            kept.append(rental)
    return tuple(kept)


def _rows(document: Document, name: str, fields: Mapping[str, Field], found: list[Diagnostic]) -> Iterator[int]:
    """Indices of the rows that can be used; what is wrong with the others is added to what was found."""
    rows = document.data.get(name)
    if rows is None:
        return
    if not isinstance(rows, list) or len(rows) > _MOST_ROWS:
        message = f"`{name}` is no list of at most {_MOST_ROWS} rows"
        found.append(Diagnostic("E0203", message, Label(document.value((name,)))))
        return
    for index, row in enumerate(rows):
        wrong = list(_row_problems(document, (name, index), row, fields))
        found += wrong
        if not wrong:
            yield index


def _row_problems(
    document: Document, path: tuple[str, int], row: Any, fields: Mapping[str, Field]
) -> Iterator[Diagnostic]:
    if not isinstance(row, dict):
        message = f"a row of `{path[0]}` is a map with the keys {', '.join(fields)}"
        yield Diagnostic("E0203", message, Label(document.value(path)))
        return
    for key, value in row.items():
        if key not in fields:
            yield _unknown(document, (*path, key), tuple(fields))
        elif (wrong := problem(key, fields[key], value, row.get("currency"))) is not None:
            helps = () if wrong.help is None else (Help(wrong.help),)
            yield Diagnostic(wrong.code, wrong.message, Label(document.value((*path, key))), wrong.notes, helps)
    missing = [key for key, field in fields.items() if field.is_required and key not in row]
    if missing:
        yield _missing(document, path, missing, fields)


def _missing(
    document: Document, path: tuple[str, int], missing: Sequence[str], fields: Mapping[str, Field]
) -> Diagnostic:
    message = f"a row of `{path[0]}` has no {', '.join(f'`{key}`' for key in missing)}"
    notes = tuple(f"`{key}`: {fields[key].meaning}" for key in missing)
    help_ = Help("add what you know; no figure of anybody else's stands in for it")
    return Diagnostic("E0703", message, Label(document.value(path)), notes, (help_,))


def _unknown(document: Document, path: tuple[str | int, ...], known: Sequence[str]) -> Diagnostic:
    name = str(path[-1])
    nearest = difflib.get_close_matches(name[:40], known, n=1)
    helps = tuple(Help(f"did you mean `{each}`?") for each in nearest)
    note = f"known keys here: {', '.join(known)}"
    return Diagnostic("E0201", f"unknown key `{name[:40]}`", Label(document.key(path)), (note,), helps)


def _rental(document: Document, index: int) -> Rental:
    row = document.data["prices"][index]
    texts = {key: row.get(key) for key in ("provider", "region")}
    return Rental(
        id=str(document.value(("prices", index))),
        gpu=row["gpu"],
        per_hour=float(row["per_hour"]),
        kind=Kind(row["kind"]),
        source=document.source.name,
        reliability=Reliability.PRIMARY,
        gpus=row.get("gpus", 1),
        currency=row["currency"],
        date=row["date"],
        is_users=True,
        **texts,
    )


def _owned(document: Document, index: int) -> Owned | Diagnostic:
    row = document.data["hardware"][index]
    limit = board_powers().get(row["gpu"])
    own = row.get("board_watts")
    if own is None and limit is None:
        message = f"the board limit of {row['gpu']} is not known"
        help_ = Help(f"add `board_watts`: {HARDWARE['board_watts'].meaning.partition(',')[0]} in watts")
        return Diagnostic("E0703", message, Label(document.value(("hardware", index))), helps=(help_,))
    watts = Range.exact(own) if own is not None or limit is None else limit.watts
    place = str(document.value(("hardware", index)))
    figures = {key: value for key, value in row.items() if key != "board_watts"}
    return Owned(**figures, board_watts=watts, source=place, is_limit=own is None)


def _age(document: Document, index: int, rental: Rental, today: dt.date) -> Iterator[Diagnostic]:
    date = rental.date or ""
    label = Label(document.value(("prices", index, "date")))
    if is_to_come(date, today):
        yield Diagnostic("E0203", f"`date` is {date}, which is yet to come", label)
    elif days_old(date, today) > STALE_DAYS:
        message = f"the price of {rental.gpu} is {age_text(date, today)} old"
        help_ = Help("ask again, and write what it is now with today's date; or take the row away")
        yield Diagnostic("W0701", message, label, helps=(help_,))


def _mixed(rental: Rental, span: Span, currency: str, place: Span) -> Diagnostic:
    """A range cannot be made of amounts in two currencies."""
    message = f"prices of {rental.gpu}, {rental.kind}, are in {currency} and in {rental.currency}"
    note = f"{currency} is given at {place}; nothing is converted, because rates change daily"
    return Diagnostic("E0704", message, Label(span), (note,), (Help("give all of them in one currency"),))
