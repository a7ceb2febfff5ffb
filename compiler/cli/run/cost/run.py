"""`stackc cost`: what the GPUs of stacks cost, and from which load on hosts are dearer."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from compiler.cli.loudness import SpecLevels
from compiler.cli.report import finish, unreadable
from compiler.cli.run.cost.document import stack_object
from compiler.cli.run.cost.lines import stack_lines
from compiler.cli.run.cost.stack import Asked, StackCost, stack_cost
from compiler.cli.run.specs import spec_paths
from compiler.diagnostics import Diagnostic, has_errors
from compiler.diagnostics.looking import Looking
from compiler.diagnostics.render import visible
from compiler.pipeline import explain_stack
from compiler.plan.cost import Usage
from compiler.prices.costs import Request
from compiler.prices.rentals import Kind, providers
from compiler.prices.user import UserPrices, user_prices
from compiler.source.user_file import user_files


def run(
    specs: tuple[Path, ...],
    *,
    hours: float,
    kind: str | None,
    provider: str | None,
    prompt: int | None,
    answer: int | None,
    utilization: float,
    day: dt.datetime | None,
    levels: SpecLevels,
    form: str,
) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    if (prompt is None) != (answer is None):
        raise click.UsageError("--input and --output are of the same requests: give both")
    request = None if prompt is None or answer is None else Request(prompt, answer)
    today = (day or dt.datetime.now(dt.UTC)).date()
    asked = Asked(Usage(hours, utilization), Kind(kind) if kind else None, provider, request, today)
    stacks, diagnostics = _stacks(spec_paths(specs), asked, levels)
    result = {"stacks": {stack.name: stack_object(stack, asked) for stack in stacks}}
    finish(form, diagnostics, result=result, lines=[line for each in stacks for line in stack_lines(each, asked)])


def _stacks(
    paths: Sequence[Path], asked: Asked, levels: SpecLevels
) -> tuple[tuple[StackCost, ...], tuple[Diagnostic, ...]]:
    """What each stack costs. Of warnings those of prices are told."""
    stacks: list[StackCost] = []
    diagnostics: tuple[Diagnostic, ...] = ()
    users: dict[tuple[Path, ...], UserPrices] = {}
    lengths = None if asked.request is None else (asked.request.input, asked.request.output)
    for path in paths:
        files = user_files(path.parent)
        if files not in users:
            users[files], found = user_prices(files, asked.today)
            diagnostics += levels.for_spec(path).applied(found)
        _check_provider(asked.provider, users[files])
        try:
            explained, problems = explain_stack(path, str(path), looking=Looking(0), request=lengths)
        except OSError as error:
            explained, problems = None, (unreadable(str(path), error),)
        diagnostics += tuple(each for each in levels.for_spec(path).applied(problems) if has_errors((each,)))
        if explained is not None and explained.plans:
            stacks.append(stack_cost(explained.plans, users[files], asked))
    return tuple(stacks), diagnostics


def _check_provider(provider: str | None, user: UserPrices) -> None:
    """Refuse a name that no offer has, with those that are nearly so.

    Raises:
        click.UsageError: there is no such provider.
    """
    known = {*providers(), *(each.provider for each in user.rentals if each.provider is not None)}
    names = {name.casefold(): name for name in known}
    if provider is None or provider.casefold() in names:
        return
    near = difflib.get_close_matches(provider.casefold()[:40], names, n=3)
    shown = ", ".join(names[each] for each in near or sorted(names))
    raise click.UsageError(f"no offer of {visible(provider[:80])} is known; there are {shown}")
