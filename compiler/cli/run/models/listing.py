"""`stackc models`: a table of those that meet what is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from compiler.cli.report import finish
from compiler.cli.run.models.known import known_models
from compiler.cli.run.models.objects import entry_object
from compiler.cli.terminal import terminal_width, wrapped
from compiler.registry.entry import ModelEntry
from compiler.registry.quantities import format_parameters, parse_parameters
from compiler.registry.wanted import Selection, Wanted, select
from compiler.units import UnitError, format_tokens, parse_tokens

_SHOWN = 40
# Longer names stand out of their column: few are, and every line has to hold words.
_NAME = 36


def run(
    *,
    task: Any,
    kind: Any,
    license_: str,
    language: str | None,
    context: str | None,
    least: str | None,
    most: str | None,
    shows_all: bool,
    form: str,
) -> NoReturn:
    """List them, and end the run."""
    wanted = Wanted(
        task=task,
        kind=kind,
        commercial=license_ == "commercial",
        language=None if language is None else language.lower(),
        context=_tokens(context),
        least_parameters=_parameters("--min-parameters", least),
        most_parameters=_parameters("--max-parameters", most),
    )
    known = known_models()
    selection = select(known.models.values(), wanted)
    models = [entry_object(entry, known) for entry in selection.found] if form == "json" else []
    result = {"models": models, "removed": selection.removed, "languages_not_named": selection.unsaid}
    finish(form, known.problems, result=result, lines=list(_lines(selection, shows_all=shows_all)))


def _tokens(text: str | None) -> int | None:
    try:
        return None if text is None else parse_tokens(text[:40])
    except UnitError as error:
        raise click.BadParameter(str(error), param_hint="--context") from error


def _parameters(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_parameters(text[:40])
    except UnitError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _lines(selection: Selection, *, shows_all: bool) -> Iterator[str]:
    shown = selection.found if shows_all else selection.found[:_SHOWN]
    if shown:
        yield from _table(shown)
    if left := len(selection.found) - len(shown):
        yield f"and {left} older: --all lists them"
    yield from _removed(selection)


def _table(entries: Sequence[ModelEntry]) -> Iterator[str]:
    name = min(_NAME, max(len(entry.id) for entry in entries))
    size = max(len("size"), *(len(_size(entry)) for entry in entries))
    yield f"{'model':{name}}  {'size':>{size}}  context  commerce  tasks"
    for entry in entries:
        left = max(0, name + size - len(entry.id))
        figures = f"{_size(entry):>{left}}  {format_tokens(entry.context):>7}  {_COMMERCE[entry.license.commercial]:8}"
        yield _with_words(f"{entry.id}  {figures}", entry.tasks)
    if any(entry.license.commercial == "conditional" for entry in entries):
        yield "if: under a condition, which `stackc models info ID` says"


_COMMERCE = {"yes": "yes", "conditional": "if", "no": "no", "unknown": "unknown"}


def _size(entry: ModelEntry) -> str:
    """Parameters, and behind a stroke those that a token meets, where these are fewer."""
    total = format_parameters(entry.parameters)
    return f"{total}/{format_parameters(entry.active_parameters)}" if entry.is_mixture else total


def _with_words(line: str, words: Sequence[str]) -> str:
    """A line with as many words behind it as the terminal holds."""
    width, left = terminal_width(), list(words)
    while left:
        whole = f"{line}  {', '.join(left)}{'' if len(left) == len(words) else ' …'}"
        if len(whole) <= width:
            return whole
        left.pop()
    return line.rstrip()


def _removed(selection: Selection) -> Iterator[str]:
    """What each condition took out."""
    parts = []
    for name, count in selection.removed.items():
        unsaid = f" ({selection.unsaid} of them name no languages)" if name == "language" and selection.unsaid else ""
        parts.append(f"{count} by --{name}{unsaid}")
    if parts:
        yield from wrapped(f"left out: {', '.join(parts)}", indent=0)
    if not selection.found:
        yield "no model is left"
