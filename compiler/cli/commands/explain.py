"""`stackc explain` on the command line: the pages of codes, and which spec is asked of."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

from compiler.cli.loudness import SpecLevels, warning_options
from compiler.cli.report import FORMAT, HELPS, finish
from compiler.diagnostics import CODES
from compiler.diagnostics.render import visible


@click.command("explain")
@click.argument("what", required=False)
@HELPS
@warning_options
@FORMAT
def command(what: str | None, *, looks_for_helps: bool, levels: SpecLevels, form: str) -> None:
    """Explain WHAT: an error code, or a spec's plan as SPEC or SPEC:SERVICE. Without WHAT, list all codes."""
    if what is None:
        titles = {code.code: code.title for code in CODES.values()}
        finish(form, (), result={"codes": titles}, lines=[f"{code}  {title}" for code, title in titles.items()])
    if what.upper() in CODES:
        page = page_of(what.upper())
        finish(form, (), result={"code": what.upper(), "page": page}, lines=page.splitlines())
    path, _, service = what.partition(":")
    if not os.path.lexists(path) or Path(path).is_dir():
        raise click.UsageError(f"{visible(what[:200])} is neither a code nor a spec")
    from compiler.cli.explain import explain_spec  # noqa: PLC0415 - a page need not wait for the compiler

    explain_spec(path, service, form, levels, looks_for_helps=looks_for_helps)


def page_of(code: str) -> str:
    """The page of a code, in Markdown."""
    return (files("compiler.diagnostics") / "pages" / f"{code}.md").read_text(encoding="utf-8")
