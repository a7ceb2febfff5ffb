"""`stackc lock` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT


@click.command("lock")
@click.argument("specs", nargs=-1, type=FILE)
@click.option("--upgrade", is_flag=True, help="Move every model to its newest commit and search variants anew.")
@click.option("--upgrade-service", "services", multiple=True, metavar="NAME", help="Do so for one; may be repeated.")
@warning_options
@FORMAT
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """Resolve the models of SPECS (default: every stacks/*.yaml) and write NAME.lock.yaml beside each.

    HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured. Weights are never downloaded.
    """
    from compiler.cli.lock import run  # noqa: PLC0415 - help need not wait for what it does

    run(specs, **options)
