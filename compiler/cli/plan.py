"""`stackc plan`: the whole of each stack at a glance."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from compiler.cli import complete
from compiler.cli.explain import ledger_lines, plans_object, wrapped
from compiler.cli.paths import FILE
from compiler.cli.report import DENY, FORMAT, SOURCES, finish, unreadable
from compiler.cli.specs import spec_paths
from compiler.cli.terminal import glyphs_of, terminal_width
from compiler.diagnostics import Diagnostic
from compiler.diagnostics.levels import Levels
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import Plan
from compiler.report.lines import legend_lines, plan_lines
from compiler.report.paint import Line


@click.command("plan")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@SOURCES
@DENY
@FORMAT
def command(specs: tuple[Path, ...], *, sources: bool, levels: Levels, form: str) -> None:
    """Show the plans of SPECS (default: every stacks/*.yaml): each GPU as a line of blocks, services as a table."""
    stacks, diagnostics = explained_stacks(spec_paths(specs))
    planned = {name: explained.plans for name, explained in stacks.items() if explained.plans}
    lines = list(_lines([plan for plans in planned.values() for plan in plans], sources=sources))
    result = {"stacks": {name: plans_object(plans) for name, plans in planned.items()}}
    finish(form, levels.applied(diagnostics), result=result, lines=lines)


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


def explained_stacks(paths: Sequence[Path]) -> tuple[dict[str, Explained], tuple[Diagnostic, ...]]:
    """Each spec's plans with their reasons, by the stack's name, or its file's where there is no plan.

    Raises:
        click.UsageError: two specs have one name.
    """
    stacks: dict[str, Explained] = {}
    diagnostics: tuple[Diagnostic, ...] = ()
    for path in paths:
        try:
            explained, found = explain_stack(path, str(path))
        except OSError as error:
            explained, found = None, (unreadable(str(path), error),)
        diagnostics += found
        if explained is None:
            continue
        name = explained.plans[0].stack if explained.plans else str(path)
        if name in stacks:
            raise click.UsageError(f"several specs are called {name}")
        stacks[name] = explained
    return stacks, diagnostics
