"""`stackc explain` on the command line: the pages of codes, and which spec is asked of."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

from compiler.cli import complete
from compiler.cli.looking import help_options
from compiler.cli.loudness import SpecLevels, warning_options
from compiler.cli.report import FINDINGS, finish
from compiler.cli.terminal import wrapped
from compiler.diagnostics import CODES
from compiler.diagnostics.looking import Looking
from compiler.diagnostics.render import visible


@click.command("explain")
@click.argument("what", required=False, shell_complete=complete.codes_and_specs)
@help_options
@warning_options
@FINDINGS
def command(what: str | None, *, looking: Looking, levels: SpecLevels, form: str) -> None:
    """Explain WHAT: an error code, or a spec's plan as SPEC or SPEC:SERVICE. Without WHAT, list all codes."""
    if what is None:
        titles = {code.code: code.title for code in CODES.values()}
        lines = [line for code, title in titles.items() for line in wrapped(f"{code}  {title}", 0, len(code) + 2)]
        finish(form, (), result={"codes": titles}, lines=lines)
    if what.upper() in CODES:
        page = page_of(what.upper())
        finish(form, (), result={"code": what.upper(), "page": page}, lines=page.splitlines())
    path, _, service = what.partition(":")
    spec = _spec_named(path, what)
    from compiler.cli.run.explain import explain_spec

    explain_spec(spec, service, form, levels, looking=looking)


def _spec_named(path: str, what: str) -> str:
    """The spec at a path, or of that name in stacks/."""
    from compiler.cli.run.specs import spec_path

    try:
        return str(spec_path(Path(path)))
    except click.UsageError as error:
        if path and os.path.isdir(path):  # noqa: PTH112 (any name)
            raise
        raise click.UsageError(f"{visible(what[:200])} is neither a code nor a spec") from error


def page_of(code: str) -> str:
    """The page of a code, in Markdown."""
    return (files("compiler.diagnostics") / "pages" / f"{code}.md").read_text(encoding="utf-8")
