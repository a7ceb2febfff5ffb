"""`stackc plan` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.looking import help_options
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT


@click.command("plan")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@help_options
@warning_options
@FORMAT
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """Show the plans of SPECS (default: every stacks/*.yaml): each GPU as a line of blocks, services as a table."""
    from compiler.cli.run.plan import run

    run(specs, **options)
