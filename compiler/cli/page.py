"""`stackc report`: stacks as a page to look at, or their ledgers as a picture."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from compiler.cli.paths import FILE
from compiler.cli.plan import explained_stacks
from compiler.cli.report import DENY, finish, unwritable
from compiler.cli.specs import spec_paths
from compiler.diagnostics import has_errors
from compiler.diagnostics.levels import Levels
from compiler.pipeline import Explained
from compiler.report.document import html_of, json_of, svg_of
from compiler.report.page import report_page
from compiler.source.files import write_changed


@click.command("report")
@click.argument("specs", nargs=-1, type=FILE)
@click.option("--out", type=FILE, help="The file to write; without it, the terminal.")
@click.option("--service", "services", multiple=True, help="Describe this one in full; may be repeated.")
@DENY
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "svg", "json"]),
    default="html",
    show_default=True,
    help="A page, the ledger of one stack as a picture, or the page's content for programs.",
)
def command(specs: tuple[Path, ...], *, out: Path | None, services: tuple[str, ...], levels: Levels, form: str) -> None:
    """Draw SPECS (default: every stacks/*.yaml): memory, capacity, candidates, start order, requests, and reasons.

    The page is one file that needs no network. The same specs and locks give the same bytes.
    """
    if form == "html" and out is None and sys.stdout.isatty():
        raise click.UsageError("a page is for a browser: name a file, such as --out report.html")
    stacks, diagnostics = explained_stacks(spec_paths(specs))
    diagnostics = levels.applied(diagnostics)
    reported = "json" if form == "json" and out is None else "text"
    if has_errors(diagnostics) or not stacks:
        finish(reported, diagnostics, result={}, lines=())
    _check(stacks, services, form)
    described = frozenset(services)
    if form == "json" and out is None:
        finish("json", diagnostics, result={"report": asdict(report_page(stacks, described))}, lines=())
    text = _drawn(stacks, described, form)
    if out is None:
        finish("text", diagnostics, result={}, lines=text.splitlines())
    try:
        changed = write_changed(out, text.encode())
    except OSError as error:
        finish("text", (*diagnostics, unwritable(str(out), error)), result={}, lines=())
    finish("text", diagnostics, result={}, lines=[f"{out}: {'written' if changed else 'unchanged'}"])


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
