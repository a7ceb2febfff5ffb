"""`stackc fit` on the command line."""

from __future__ import annotations

from typing import Any

import click

from compiler.cli import complete
from compiler.cli.looking import help_options
from compiler.cli.loudness import warning_options
from compiler.cli.report import ASSUME, FINDINGS
from compiler.diagnostics.looking import Looking

TASKS = ("chat", "completion", "embed", "score", "classify")
"""`task` of a spec (compiler/spec/models.py), whose model takes longer to import than help may."""

ENGINES = ("vllm", "llama.cpp")
"""Those of compiler/spec/engines.py, likewise."""


@click.command("fit")
@click.argument("model", shell_complete=complete.models)
@click.option(
    "--gpu",
    shell_complete=complete.gpus,
    help="A catalog name (`stackc gpus`), or any with the two figures of the card; several, as a10,l4, or all for a "
    "line each, as without the option.",
)
@click.option("--here", is_flag=True, help="The GPUs of this machine, as nvidia-smi has them.")
@click.option("--memory", help="Its memory as CUDA reports it, such as 15.7GiB; wins over the catalog's.")
@click.option("--compute-capability", help="Of a card that is not in the catalog, such as 8.9.")
@click.option("--mig", shell_complete=complete.profiles, help="A slice of each GPU, such as 3g.40gb.")
@click.option("--count", type=click.IntRange(1, 1024), help="How many of them: 1, and with --here all that there are.")
@click.option("--context", default="8K", show_default=True, help="Tokens of one request, or max.")
@click.option("--concurrency", default="1", show_default=True, help="Requests of full context at once, or max.")
@click.option("--task", type=click.Choice(TASKS), default="completion", show_default=True, help="As in a spec.")
@click.option("--quantization", default="auto", show_default=True, help="As in a spec.")
@click.option("--kv-cache-dtype", default="auto", show_default=True, help="As in a spec.")
@click.option("--tp", "tensor_parallel_size", type=click.IntRange(1, 64), help="Split each layer over so many GPUs.")
@click.option("--pp", "pipeline_parallel_size", type=click.IntRange(1, 64), help="Divide the layers into stages.")
@click.option("--engine", type=click.Choice(ENGINES), help="llama.cpp where the model's name says GGUF, else vllm.")
@click.option("--host-memory", help="Of the machine, such as 64GiB: llama.cpp keeps there what no GPU has room for.")
@click.option("--publisher", "publishers", multiple=True, help="Trusted for quantized variants; may be repeated.")
@click.option("--hub", "asks_hub", is_flag=True, help="Ask the Hub even where a lock or the registry knows the model.")
@ASSUME
@help_options
@warning_options
@FINDINGS
def command(
    model: str,
    *,
    gpu: str | None,
    here: bool,
    memory: str | None,
    compute_capability: str | None,
    mig: str | None,
    count: int | None,
    host_memory: str | None,
    looking: Looking,
    **options: Any,
) -> None:
    """Ask whether MODEL (a Hub id or a folder) fits on a GPU, with how much KV cache, and for how many requests."""
    from compiler.cli.run.fit.question import Cards, cards_here

    names = () if gpu in (None, "all") else tuple(filter(None, str(gpu).split(",")))
    if gpu not in (None, "all") and not names:
        raise click.UsageError("--gpu names no card: `stackc gpus` lists them")
    cards = Cards(gpu or "all", count or 1, memory, compute_capability, mig, host_memory, typed=gpu or "all")
    if here:
        if gpu is not None or cards.figures or mig is not None:
            raise click.UsageError("--here is in place of naming a card")
        cards = cards_here(cards, count)
    if here or len(names) == 1:
        from compiler.cli.run.fit.one import run

        run(model, cards, looking=looking, **options)
    if cards.figures or mig is not None:
        raise click.UsageError("--memory, --compute-capability and --mig are of one card: name it with --gpu")
    from compiler.cli.run.fit.cards import run as run_cards

    run_cards(model, names, cards, **options)
