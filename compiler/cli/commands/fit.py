"""`stackc fit` on the command line."""

from __future__ import annotations

from typing import Any

import click

from compiler.cli import complete
from compiler.cli.looking import help_options
from compiler.cli.loudness import warning_options
from compiler.cli.report import ASSUME, FINDINGS

TASKS = ("chat", "completion", "embed", "score", "classify")
"""`task` of a spec (compiler/spec/models.py), whose model takes longer to import than help may."""


@click.command("fit")
@click.argument("model", shell_complete=complete.models)
@click.option(
    "--gpu",
    required=True,
    shell_complete=complete.gpus,
    help="A catalog name (`stackc gpus`), or any with the two figures of the card.",
)
@click.option("--memory", help="Its memory as CUDA reports it, such as 15.7GiB; wins over the catalog's.")
@click.option("--compute-capability", help="Of a card that is not in the catalog, such as 8.9.")
@click.option("--mig", shell_complete=complete.profiles, help="A slice of each GPU, such as 3g.40gb.")
@click.option("--count", type=click.IntRange(1, 1024), default=1, show_default=True, help="How many of them.")
@click.option("--context", default="8K", show_default=True, help="Tokens of one request, or max.")
@click.option("--concurrency", default="1", show_default=True, help="Requests of full context at once, or max.")
@click.option("--task", type=click.Choice(TASKS), default="completion", show_default=True, help="As in a spec.")
@click.option("--quantization", default="auto", show_default=True, help="As in a spec.")
@click.option("--kv-cache-dtype", default="auto", show_default=True, help="As in a spec.")
@click.option("--tp", "tensor_parallel_size", type=click.IntRange(1, 64), help="Split each layer over so many GPUs.")
@click.option("--pp", "pipeline_parallel_size", type=click.IntRange(1, 64), help="Divide the layers into stages.")
@click.option("--publisher", "publishers", multiple=True, help="Trusted for quantized variants; may be repeated.")
@click.option("--hub", "asks_hub", is_flag=True, help="Ask the Hub even where a lock in stacks/ knows the model.")
@ASSUME
@help_options
@warning_options
@FINDINGS
def command(model: str, **options: Any) -> None:
    """Ask whether MODEL (a Hub id or a folder) fits on a GPU, with how much KV cache, and for how many requests."""
    from compiler.cli.run.fit import run

    run(model, **options)
