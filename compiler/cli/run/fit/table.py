"""Answers about many cards for people: a line each, and what its figures mean."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from compiler.choose.cards import CardAnswer
from compiler.choose.fits import Fit
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.ledger import Verdict
from compiler.plan.speed import Measure, ServiceSpeed
from compiler.prices.dates import first_day
from compiler.prices.rentals import Kind, PriceRange
from compiler.prices.text import amount_text, dates_text
from compiler.report.paint import Line
from compiler.report.table import Column, table_lines
from compiler.speed.estimate import Estimate, Mark
from compiler.units import format_gib, format_rate, format_tokens

_COLUMNS = (
    Column("GPU", least=12),
    Column("GiB", is_right=True, rank=1),
    Column("fits as"),
    Column("context", is_right=True),
    Column("most", is_right=True),
    Column("alone", is_right=True),
    Column("all", is_right=True),
    Column("an hour", is_right=True),
)
_NOTHING = "–"
_MARKS: Mapping[Mark, str] = {Mark.CALIBRATED: " ", Mark.MEASURED: " ", Mark.EXTRAPOLATED: "~", Mark.THIN: "?"}
_OTHER_KIND = "*"

# What stands against a card, in a word or two; the sentence is below the table.
_WHY: Mapping[str, str] = {
    "E0206": "unknown",
    "E0208": "no kernels",
    "E0211": "too few",
    "E0219": "feature",
    "E0305": "policy",
    "E0306": "no chats",
    "E0307": "unknown",
    "E0308": "unserved",
    "E0309": "config",
    "E0315": "headers",
    "E0403": "too long",
    "E0404": "no split",
    "E0405": "limit",
}


def card_lines(answers: Sequence[CardAnswer], context: str) -> Iterator[str | Line]:
    """The smallest card first, a line each, and below what stands against those that do not fit.

    Args:
        context: of the requests that were asked about, in words.
    """
    yield from wrapped(_summary(answers), 0)
    yield from table_lines(_COLUMNS, list(map(_cells, answers)), terminal_width(), glyphs_of(sys.stdout))
    for words in (*_reasons(answers), *_meanings(answers, context)):
        yield from wrapped(words, 0)


def _summary(answers: Sequence[CardAnswer]) -> str:
    """Who asks about all cards wants to know the smallest, and the cheapest."""
    proved = [each for each in answers if each.is_proved]
    if not proved:
        return "fits on none of these cards"
    smallest = proved[0].gpu
    return (
        f"fits on {len(proved)} of {len(answers)} cards, the smallest is {smallest.name} "
        f"({format_gib(smallest.memory)} GiB)"
    )


def _cells(each: CardAnswer) -> tuple[str, ...]:
    fit, speed = each.fit, each.speed
    return (
        each.gpu.name,
        format_gib(each.gpu.memory),
        _verdict(each),
        _NOTHING if fit.most_context is None else format_tokens(fit.most_context),
        _NOTHING if fit.most_concurrency is None else str(fit.most_concurrency),
        _NOTHING if speed is None else rate_cell(speed.alone, speed.alone.speed.request_rate),
        _NOTHING if speed is None else _of_all(speed),
        price_cell(each),
    )


def _verdict(each: CardAnswer) -> str:
    """What is served where it fits, what lacks or stands against it where it does not."""
    fit, server = each.fit, each.fit.server
    if fit.verdict is Verdict.UNFIT:
        return f"{format_gib(fit.short or 0)} short"
    if server is None or fit.verdict is None:
        return _WHY.get(fit.code or "", fit.code or "")
    if fit.verdict is Verdict.MARGIN:
        return "margin"
    divided = f" × {fit.gpus}" if each.count > 1 else ""
    return f"{server.demand.variant.bits_per_weight:.2g} bit{divided}"


def _of_all(speed: ServiceSpeed) -> str:
    measure = speed.measures[-1]
    return rate_cell(measure, measure.speed.output_rate)


def rate_cell(measure: Measure, rate: Estimate) -> str:
    """An interval of tokens a second, and a mark behind it of what it rests on."""
    low, high = format_rate(rate.low), format_rate(rate.high)
    return f"{low}–{high}{_MARKS[measure.speed.ground.mark]}"


def price_cell(each: CardAnswer) -> str:
    """What the machine costs an hour, with a mark behind it where that is not on demand."""
    price = each.price
    if price is None:
        return f"{_NOTHING} "
    amounts = price.per_hour
    low, high = amount_text(amounts.low), amount_text(amounts.high)
    return f"{low if low == high else f'{low}–{high}'}{_mark_of(price)}"


def _mark_of(price: PriceRange) -> str:
    return " " if price.is_users or price.kind is Kind.ON_DEMAND else _OTHER_KIND


def _reasons(answers: Sequence[CardAnswer]) -> Iterator[str]:
    """Each cause once, in a compilation's words."""
    fits: list[Fit] = [each.fit for each in reversed(answers)]
    causes = {fit.code: fit.reason for fit in fits if fit.code is not None and fit.short is None}
    for code, reason in sorted(causes.items()):
        yield f"{_WHY.get(code, code)}: {reason} [{code}]"
    if any(fit.verdict is Verdict.MARGIN for fit in fits):
        yield "margin: fits only if estimates are no worse than expected [E0402]"


def _meanings(answers: Sequence[CardAnswer], context: str) -> Iterator[str]:
    if any(each.fit.verdict is Verdict.UNFIT for each in answers):
        yield "short: GiB that lack for what was asked; context then is the longest request that would fit"
    most = any(each.fit.most_concurrency is not None for each in answers)
    if most or any(each.fit.most_context is not None for each in answers):
        requests = f"; most: requests of {context} at once" if most else ""
        yield f"context: tokens of the longest request that fits{requests}"
    yield from speed_meanings([each.speed for each in answers if each.speed is not None], "alone, all")
    prices = [each.price for each in answers if each.price is not None]
    if prices:
        yield _price_meaning(prices)


def speed_meanings(speeds: Sequence[ServiceSpeed], columns: str = "alone") -> Iterator[str]:
    """What estimates are of, and their marks; nothing where there are none."""
    if not speeds:
        return
    lengths = {(speed.prompt, speed.answer) for speed in speeds}
    prompt, answer = next(iter(lengths))
    of = f"{prompt} tokens and answers of {answer}" if len(lengths) == 1 else "the usual length, or what fits"
    full = ", and of as many as run at once" if columns != "alone" else ""
    yield f"{columns}: tokens/s of one request{full}, with prompts of {of}"
    marks = {each.speed.ground.mark for speed in speeds for each in (speed.measures[0], speed.measures[-1])}
    said = [f"{_MARKS[mark]} {mark.value}" for mark in (Mark.EXTRAPOLATED, Mark.THIN) if mark in marks]
    if said:
        yield f"{', '.join(said)}; the others have measured neighbours"


def _price_meaning(prices: Sequence[PriceRange]) -> str:
    currencies = "/".join(sorted({price.currency for price in prices}))
    dates = tuple(sorted({date for price in prices for date in price.dates}, key=first_day))
    other = ", * as other than on demand" if any(_mark_of(price) == _OTHER_KIND for price in prices) else ""
    return f"an hour: {currencies} for the machine on demand{other}; offers of {dates_text(dates)}"
