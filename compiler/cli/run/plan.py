"""`stackc plan`: the whole of each stack at a glance."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import click

from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.report import finish, unreadable
from compiler.cli.run.explain import ledger_lines, plans_object
from compiler.cli.run.specs import spec_paths
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.diagnostics import Diagnostic
from compiler.diagnostics.looking import Looking
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import Plan
from compiler.report.lines import legend_lines, plan_lines
from compiler.report.paint import Line


def run(specs: tuple[Path, ...], *, looking: Looking, levels: SpecLevels, form: str) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    stacks, diagnostics = explained_stacks(spec_paths(specs), levels, looking=looking)
    planned = {name: explained.plans for name, explained in stacks.items() if explained.plans}
    is_whole = loudness() is Loudness.VERBOSE
    lines = list(_lines([plan for plans in planned.values() for plan in plans], sources=is_whole))
    result = {"stacks": {name: plans_object(plans) for name, plans in planned.items()}}
    finish(form, diagnostics, result=result, lines=lines)


def _lines(plans: Sequence[Plan], *, sources: bool) -> Iterator[str | Line]:
    width, glyphs = terminal_width(), glyphs_of(sys.stdout)
    for plan in plans:
        yield from plan_lines(plan, width, glyphs)
        if sources:
            yield from _ledgers(plan)
    if plans:
        yield from legend_lines(width, glyphs)


def _ledgers(plan: Plan) -> Iterable[str]:
    """Every figure with its source."""
    for service in plan.services:
        yield from wrapped(f"{service.name} on {plan.node.name}", indent=0)
        yield from ledger_lines(plan, service, sources=True)
        yield ""


def explained_stacks(
    paths: Sequence[Path], levels: SpecLevels, *, looking: Looking
) -> tuple[dict[str, Explained], tuple[Diagnostic, ...]]:
    """Each spec's plans with their reasons, by the stack's name, or its file's where there is no plan.

    Raises:
        click.UsageError: two specs have one name.
    """
    stacks: dict[str, Explained] = {}
    diagnostics: tuple[Diagnostic, ...] = ()
    for path in paths:
        try:
            explained, found = explain_stack(path, str(path), looking=looking)
        except OSError as error:
            explained, found = None, (unreadable(str(path), error),)
        diagnostics += levels.for_spec(path).applied(found)
        if explained is None:
            continue
        name = explained.plans[0].stack if explained.plans else str(path)
        if name in stacks:
            raise click.UsageError(f"several specs are called {name}")
        stacks[name] = explained
    return stacks, diagnostics
