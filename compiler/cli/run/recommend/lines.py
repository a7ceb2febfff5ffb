"""What `stackc recommend` says, for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from compiler.catalog.hardware.gpus import GPUS
from compiler.choose.grades import Grade
from compiler.choose.recommend.choice import Choice
from compiler.choose.recommend.constraints import Removed
from compiler.choose.recommend.lists import Criterion, Listed
from compiler.choose.recommend.recommend import Recommendation
from compiler.choose.recommend.wish import DEFAULT_CONTEXT, USERS_AT_ONCE, Cards, Wish
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.prices.text import amount_text
from compiler.registry.read import Registry
from compiler.registry.terms import stricter_base
from compiler.report.paint import Line
from compiler.report.table import Column, table_lines
from compiler.units import counted, format_gib, format_tokens

_TITLES: Mapping[Criterion, str] = {
    "quality": "best quality",
    "fastest": "fastest",
    "cheapest": "cheapest",
    "smallest": "smallest",
    "balanced": "balanced",
}
_SHOWN = 3
"""Rows of each list: JSON has more."""

_COLUMNS = (
    Column("", least=24),
    Column("as", least=5, rank=5),
    Column("quality", is_right=True),
    Column("tokens/s", is_right=True),
    Column("GiB", is_right=True, rank=4),
    Column("$/h", is_right=True, rank=3),
    Column("on", rank=2),
)


def recommendation_lines(found: Recommendation, known: Registry, *, shows_all: bool) -> Iterator[str | Line]:
    """Lists, what they rest on, and what was left out."""
    yield from wrapped(_headline(found), indent=0)
    yield from (line for text in _assumed(found) for line in wrapped(text, indent=0))
    for each in found.lists:
        yield ""
        yield from _list(each, found)
    if shows_all and found.rows:
        yield ""
        yield from _table(f"all {len(found.rows)}", found.rows, found)
    yield ""
    yield from _legend(found, known)
    yield from _unmeasured(found)
    yield from left_out(found.removed)


def _unmeasured(found: Recommendation) -> Iterator[str]:
    """The newest of the rows that no common test grades: nobody says that they are worse."""
    unknown = [choice.entry for choice in found.rows if choice.grade.position is None]
    newest = sorted(unknown, key=lambda entry: (entry.released or "", entry.id), reverse=True)[:_SHOWN]
    if newest:
        names = ", ".join(f"{entry.id} ({entry.released or 'no date'})" for entry in newest)
        told = f"{len(unknown)} of them are not graded at {found.graded_at}, and may be better or worse; the newest: "
        yield from wrapped(f"{told}{names}", indent=0)


def _headline(found: Recommendation) -> str:
    wish = found.wish
    length = DEFAULT_CONTEXT if wish.context is None else wish.context
    asked = f"{counted(wish.at_once, 'request')} of {format_tokens(length)} at once"
    where = " or ".join(map(machine_words, found.machines)) or "no machine"
    if found.wish.budget is not None and not any(cards.are_owned for cards in found.machines):
        where += f", within {amount_text(found.wish.budget.per_hour)} {found.wish.budget.currency} an hour"
    return f"{wish.task} on {where}, {asked}: {counted(len(found.rows), 'model')} proved to fit"


def machine_words(cards: Cards) -> str:
    """A machine with its memory."""
    return f"{cards.count} × {cards.gpu} ({format_gib(GPUS[cards.gpu].memory)} GiB)"


def _assumed(found: Recommendation) -> Iterator[str]:
    wish = found.wish
    if wish.users is not None:
        yield (
            f"assumed: of {wish.users} users 1 in {USERS_AT_ONCE} waits for an answer at once, which is "
            f"{counted(wish.at_once, 'request')}; --concurrency says it as measured"
        )
    if found.graded_at != wish.task:
        yield f"hardly any published test is of {wish.task}: grades are those at {found.graded_at}, thin for this"
    shorter = sum(choice.proof.shortened for choice in found.rows)
    if shorter:
        yield f"{shorter} of them only with shorter requests: they come last"


def _list(each: Listed, found: Recommendation) -> Iterator[str | Line]:
    yield from _table(_TITLES[each.criterion], each.choices[:_SHOWN], found)
    yield from wrapped(f"of {each.among}: {each.decided}")


def _table(title: str, choices: Sequence[Choice], found: Recommendation) -> Iterator[str | Line]:
    columns = (Column(title, least=_COLUMNS[0].least), *_COLUMNS[1:])
    rows = [_row(choice, found.wish) for choice in choices]
    kept = [index for index in range(len(columns)) if index < 1 or any(row[index] for row in rows)]
    if len({row[-1] for row in rows}) == 1 and len(found.machines) == 1 and found.machines[0].count == 1:
        kept = [index for index in kept if index != len(columns) - 1]
    yield from table_lines(
        [columns[index] for index in kept],
        [[row[index] for index in kept] for row in rows],
        terminal_width(),
        glyphs_of(sys.stdout),
    )


def _row(choice: Choice, wish: Wish) -> tuple[str, ...]:
    speed = choice.speed
    rate = "" if speed is None else f"{speed.request_rate.low:.0f}–{speed.request_rate.high:.0f}"
    price = "" if choice.per_hour is None else amount_text(choice.per_hour.low)
    shorter = (
        format_tokens(choice.proof.context) if wish.context is None and choice.proof.context < DEFAULT_CONTEXT else ""
    )
    form = f"{choice.checkpoint.form}, {shorter}" if shorter else choice.checkpoint.form
    on = f"{choice.cards.count} × {choice.cards.gpu}"
    return choice.entry.id, form, _quality(choice), rate, format_gib(choice.weights), price, on


def _quality(choice: Choice) -> str:
    """Where it stands, between which bounds; or why it has no place."""
    bounds = choice.quality_bounds
    if choice.quality is None or bounds is None:
        return choice.grade.kind.replace("_", " ").replace("no common test", "no test")
    mark = "" if choice.grade.kind == "graded" else "?"
    return f"{choice.quality:.2f} ({bounds[0]:.2f}–{bounds[1]:.2f}){mark}"


def _legend(found: Recommendation, known: Registry) -> Iterator[str]:
    """Evidence, licence and trap of each winner."""
    if not found.rows:
        return
    yield from wrapped(
        "quality: the share of graded models that it stands above at this task, less what its format costs; ? is thin. "
        "tokens/s: of each request, where 9 of 10 measurements lie. GiB: of weights, by configs that the registry "
        "has; `stackc lock` reads the Hub's",
        indent=0,
    )
    winners = {each.choices[0].entry.id: each.choices[0] for each in found.lists}
    for choice in winners.values():
        told = (*_told(choice, known), *_unsure(choice, found.wish))
        yield from wrapped(f"{choice.entry.id}: {'; '.join(told)}", indent=0)


def _unsure(choice: Choice, wish: Wish) -> Iterator[str]:
    """What of the wish an estimate or a range of prices meets only in part."""
    speed, price, ttft = choice.speed, choice.per_hour, choice.ttft
    if speed is not None and wish.min_rate is not None and speed.request_rate.low < wish.min_rate:
        low, high = speed.request_rate.low, speed.request_rate.high
        yield f"{wish.min_rate:g} tokens/s lie within {low:.0f}–{high:.0f}: likely, not sure"
    if ttft is not None and wish.max_ttft is not None and ttft.high > wish.max_ttft:
        yield f"{wish.max_ttft:g} s to the first token lie within {ttft.low:.2g}–{ttft.high:.2g}: likely, not sure"
    if price is not None and wish.budget is not None and price.high > wish.budget.per_hour:
        yield f"its GPUs are offered for up to {amount_text(price.high)} {choice.currency} an hour too"


def _told(choice: Choice, known: Registry) -> Iterator[str]:
    entry, license_ = choice.entry, choice.entry.license
    if not choice.checkpoint.is_own:
        usual = f", counted as {choice.checkpoint.form} usually is" if choice.checkpoint.is_usual else ""
        yield f"as {choice.checkpoint.repository}{usual}"
    yield evidence_words(choice.grade)
    if choice.penalty is not None and choice.penalty.high:
        yield f"{choice.checkpoint.form} loses {100 * choice.penalty.low:.2g} to {100 * choice.penalty.high:.2g} %"
    if choice.penalty is None:
        yield f"what {choice.checkpoint.form} loses is not published"
    if choice.speed is not None and choice.speed.ground.reasons:
        yield f"its speed is {choice.speed.ground.mark.value}: {choice.speed.ground.reasons[0]}"
    condition = "" if license_.condition is None else f", {license_.condition}"
    yield f"licence {license_.name}, commercial use: {license_.commercial}{condition} ({known.license_link(entry)})"
    base = stricter_base(entry, known)
    if base is not None:
        condition = "" if base.condition is None else f", {base.condition}"
        yield f"made from {base.repository}, {base.name}, commercial use: {base.commercial}{condition} ({base.link})"
    if entry.trap is not None:
        yield f"trap: {entry.trap}"


def evidence_words(grade: Grade) -> str:
    """On what a grade rests."""
    if not grade.sets:
        return f"quality {grade.kind.replace('_', ' ')}"
    sets, parties = counted(grade.sets, "set"), f"{grade.parties} part{'y' if grade.parties == 1 else 'ies'}"
    return f"{grade.kind} on {sets} of scores by {parties}, the newest of {grade.newest}"


def left_out(removed: Iterable[Removed]) -> Iterator[str]:
    """What each condition took out, in the order in which they were applied."""
    told = [each for each in removed if each.count]
    if told:
        yield "left out, one after the other:"
    for each in told:
        unsaid = f", of {each.unsaid} nobody says it" if each.unsaid else ""
        yield from wrapped(f"{each.count} by {each.constraint} ({each.asked}){unsaid}; {each.example}: {each.because}")
