"""`stackc images` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT


@click.command("images")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@click.option("--pin", is_flag=True, help="Ask the registries for digests that are not known, and write them down.")
@click.option("--upgrade", is_flag=True, help="With --pin: ask also for those that are known, as their tags are now.")
@warning_options
@FORMAT
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """List the images of SPECS (default: every stacks/*.yaml), and pin them in NAME.lock.yaml beside each.

    Registries are asked without a login. Nothing is pulled.
    """
    from compiler.cli.run.images import run

    run(specs, **options)
