"""`stackc report` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.looking import help_options
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE


@click.command("report")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@click.option("--out", type=FILE, help="The file to write; without it, the terminal.")
@click.option("--service", "services", multiple=True, help="Describe this one in full; may be repeated.")
@help_options
@warning_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "svg", "json"]),
    default="html",
    show_default=True,
    help="A page, the ledger of one stack as a picture, or the page's content for programs.",
)
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """Draw SPECS (default: every stacks/*.yaml): memory, capacity, candidates, start order, requests, and reasons.

    The page is one file that needs no network. The same specs and locks give the same bytes.
    """
    from compiler.cli.run.page import run

    run(specs, **options)
