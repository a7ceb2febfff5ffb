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
@click.argument("logs", nargs=-1, required=True, type=FILE)
@click.option(
    "--gpu",
    required=True,
    shell_complete=complete.gpus,
    help="The card that the logs are of: a catalog name (`stackc gpus`).",
)
@click.option("--config", type=FILE, help="config.json of the model, for activation and graphs.")
@click.option("--out", type=FILE, help="Where to write; without it, what would be written is shown.")
@loudness_options
@FORMAT
def command(logs: tuple[Path, ...], **options: Any) -> None:
    """Read start-up logs of vLLM (best with VLLM_LOGGING_LEVEL=DEBUG) and write what they measured."""
    from compiler.cli.run.calibrate import run

    run(logs, **options)
