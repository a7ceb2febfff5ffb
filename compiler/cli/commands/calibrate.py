"""`stackc calibrate` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.loudness import loudness_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT


@click.command("calibrate")
@click.argument("logs", nargs=-1, type=FILE)
@click.option(
    "--gpu",
    shell_complete=complete.gpus,
    help="The card that they are of: a catalog name (`stackc gpus`). What --speed names says it itself.",
)
@click.option("--config", type=FILE, help="config.json of the model, for activation and graphs of vLLM.")
@click.option(
    "--speed",
    "speeds",
    multiple=True,
    type=FILE,
    help="What bin/bench wrote on a server: baselines/SERVICE/REVISION.json there. May be given several times.",
)
@click.option("--out", type=FILE, help="Where to write; without it, what would be written is shown.")
@loudness_options
@FORMAT
def command(logs: tuple[Path, ...], speeds: tuple[Path, ...], **options: Any) -> None:
    """Read start-up logs and measured speeds, and write what they say.

    Of vLLM, best with VLLM_LOGGING_LEVEL=DEBUG; of llama-server with -lv 4, to its end.
    """
    from compiler.cli.run.calibrate import run

    run(logs, speeds, **options)
