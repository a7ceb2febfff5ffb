"""`stackc report`: stacks as a page to look at, or their ledgers as a picture."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from compiler.checks.read import lock_path
from compiler.cli.loudness import SpecLevels
from compiler.cli.paths import keep_inputs
from compiler.cli.report import finish, unwritable
from compiler.cli.run.plan import explained_stacks
from compiler.cli.run.specs import spec_paths
from compiler.diagnostics import Diagnostic, has_errors
from compiler.diagnostics.looking import Looking
from compiler.pipeline import Explained
from compiler.report.document import html_of, json_of, svg_of
from compiler.report.page import report_page
from compiler.source.files import write_changed


def run(
    specs: tuple[Path, ...],
    *,
    out: Path | None,
    services: tuple[str, ...],
    looking: Looking,
    levels: SpecLevels,
    form: str,
) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    paths = spec_paths(specs)
    _check_place(out, paths, form)
    stacks, diagnostics = explained_stacks(paths, levels, looking=looking)
    if has_errors(diagnostics) or not stacks:
        finish(_reported(form), diagnostics, result={}, lines=())
    _check(stacks, services, form)
    described = frozenset(services)
    if form == "json" and out is None:
        finish(form, diagnostics, result={"report": asdict(report_page(stacks, described))}, lines=())
    text = _drawn(stacks, described, form)
    if out is None:
        finish(_reported(form), diagnostics, result={}, lines=text.splitlines())
    _write(out, text, form, diagnostics)


def _reported(form: str) -> str:
    """How findings are reported: pages and pictures are for people."""
    return "json" if form == "json" else "text"


def _check_place(out: Path | None, specs: Iterable[Path], form: str) -> None:
    """Refuse to fill a terminal with HTML, or to write over what is drawn."""
    if out is None:
        if form == "html" and sys.stdout.isatty():
            raise click.UsageError("a page is for a browser: name a file, such as --out report.html")
        return
    keep_inputs("--out", out, [path for spec in specs for path in (spec, lock_path(spec))])


def _write(out: Path, text: str, form: str, diagnostics: tuple[Diagnostic, ...]) -> NoReturn:
    try:
        changed = write_changed(out, text.encode())
    except OSError as error:
        finish(_reported(form), (*diagnostics, unwritable(str(out), error)), result={}, lines=())
    lines = [f"{out}: {'written' if changed else 'unchanged'}"]
    finish(_reported(form), diagnostics, result={"output": str(out)}, lines=lines)


def _drawn(stacks: dict[str, Explained], described: frozenset[str], form: str) -> str:
    if form == "svg":
        return svg_of(next(iter(stacks.values())).plans)
    page = report_page(stacks, described)
    return json_of(page) if form == "json" else html_of(page)


def _check(stacks: dict[str, Explained], services: tuple[str, ...], form: str) -> None:
    """Refuse what cannot be drawn as it is asked for."""
    names = {service.name for explained in stacks.values() for plan in explained.plans for service in plan.services}
    unknown = sorted(set(services) - names)
    if unknown:
        raise click.UsageError(f"no service {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    if form == "svg" and len(stacks) > 1:
        raise click.UsageError(f"a picture is of one stack: name one of {', '.join(stacks)}")
