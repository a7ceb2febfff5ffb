"""`stackc sbom` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT


@click.command("sbom")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@click.option("--output", type=FILE, help="A file; without it, the terminal.")
@warning_options
@FORMAT
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """List what SPECS (default: every stacks/*.yaml) deploy, as CycloneDX 1.6: images, packages, models.

    The same specs and locks give the same bytes. SOURCE_DATE_EPOCH puts a date into it.
    """
    from compiler.cli.run.sbom import run

    run(specs, **options)
