"""`stackc diff` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.looking import help_options
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE, FOLDER, OUTPUT
from compiler.cli.report import ASSUME


@click.command("diff")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@click.option("--against", metavar="REF", help="Compare with the output of a commit, such as HEAD or origin/main.")
@click.option(
    "--output",
    type=OUTPUT,
    default=Path("generated"),
    show_default=True,
    help="Where the folders are that are compared with.",
)
@click.option("--templates", type=FOLDER, help="A folder of templates, as for `stackc compile`.")
@ASSUME
@help_options
@warning_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How to report.",
)
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """Say what SPECS (default: every stacks/*.yaml) change in the output. Nothing is written.

    Exit codes: 0 nothing changes, 4 something does, 1 a spec has an error, 2 usage, 3 the outside world failed.
    """
    from compiler.cli.run.diff import run

    run(specs, **options)
