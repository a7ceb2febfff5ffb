"""`stackc compile` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.looking import help_options
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE, FOLDER, OUTPUT
from compiler.cli.report import ASSUME, FINDINGS


@click.command("compile")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 and say what changed if the output is not current.")
@click.option(
    "--locked",
    is_flag=True,
    expose_value=False,
    help="Refuse a missing or stale lock. Compiling always does, and never writes a lock: for scripts that say it.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="Also remove files that stackc never wrote: in its trees, and beside them in an output that it alone uses.",
)
@click.option("--force", is_flag=True, help="Also write over generated files that were edited by hand.")
@click.option(
    "--output", type=OUTPUT, default=Path("generated"), show_default=True, help="Where the folders are written."
)
@click.option(
    "--templates",
    type=FOLDER,
    help="A folder of templates that take the place of stackc's with the same path, such as systemd/service.j2.",
)
@ASSUME
@help_options
@warning_options
@FINDINGS
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """Compile SPECS (default: every stacks/*.yaml) into one folder each below the output."""
    from compiler.cli.run.compile import run

    run(specs, **options)
