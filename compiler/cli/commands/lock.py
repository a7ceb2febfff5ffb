"""`stackc lock` on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE
from compiler.cli.report import FINDINGS
from compiler.diagnostics.render import visible


def _copies(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> Mapping[str, Path]:
    """Folders of this machine by the paths that they have on the server."""
    copies: dict[str, Path] = {}
    for each in given:
        path, _separator, copy = each.partition("=")
        server = path.rstrip("/")
        if not server.startswith("/") or not copy or "\0" in each:
            raise click.BadParameter(f"{visible(each[:200])}: write the path on the server, `=`, and the folder here")
        if server in copies:
            raise click.BadParameter(f"{visible(server[:200])} is given twice")
        if not os.path.isdir(copy):  # noqa: PTH112 (any name)
            raise click.BadParameter(f"{visible(copy[:200])} is no folder")
        copies[server] = Path(copy)
    return copies


@click.command("lock")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@click.option("--upgrade", is_flag=True, help="Move every model to its newest commit and search variants anew.")
@click.option(
    "--upgrade-service",
    "services",
    multiple=True,
    metavar="NAME",
    shell_complete=complete.services,
    help="Do so for one; may be repeated.",
)
@click.option(
    "--folder",
    "copies",
    multiple=True,
    metavar="PATH=COPY",
    callback=_copies,
    help="Read a model that lies in a folder PATH of the server from a COPY here; may be repeated.",
)
@warning_options
@FINDINGS
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """Resolve the models of SPECS (default: every stacks/*.yaml) and write NAME.lock.yaml beside each.

    HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured. Weights are never downloaded.
    """
    from compiler.cli.run.lock import run

    run(specs, **options)
