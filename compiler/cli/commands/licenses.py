"""`stackc licenses` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT


@click.command("licenses")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@warning_options
@FORMAT
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """List under which licences the models of SPECS (default: every stacks/*.yaml) are used, and what they demand.

    Those of models that they were made from are in it. A summary, no legal advice: what counts is the linked text.
    """
    from compiler.cli.run.licenses.run import run

    run(specs, **options)
