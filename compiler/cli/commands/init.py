"""`stackc init` on the command line."""

from __future__ import annotations

from typing import Any

import click

from compiler.cli import complete
from compiler.cli.loudness import loudness_options

TASKS = ("chat", "code", "embed", "rerank", "rag")
"""Those of compiler/cli/run/starters.py, whose models take longer to import than help may."""


@click.command("init")
@click.argument("name", required=False)
@click.option("--gpu", shell_complete=complete.gpus, help="A catalog name (`stackc gpus`); else nvidia-smi is asked.")
@click.option("--count", type=click.IntRange(1, 1024), help="How many of them; 1, or what nvidia-smi found.")
@click.option("--cpu", "on_cpu", is_flag=True, help="Serve from main memory, without a GPU: chat, embed, rerank, rag.")
@click.option("--task", "tasks", type=click.Choice(TASKS), multiple=True, help="What for; may be repeated.")
@click.option("--model", help="A Hub id or a path to serve for chat; llama.cpp serves it where its name says GGUF.")
@click.option("--from", "example", shell_complete=complete.examples, help="Start from a shipped stack instead.")
@click.option("--list", "is_list", is_flag=True, help="List the shipped stacks.")
@click.option("--offline", is_flag=True, help="Ask nobody: facts of models for chat and code ship with stackc.")
@click.option("--yes", is_flag=True, help="Ask nothing; what no option says is as it is found, and the task is chat.")
@loudness_options
def command(name: str | None, **options: Any) -> None:
    """Write stacks/NAME.yaml for this machine, lock it, and compile it. Nothing is overwritten.

    \b
    stackc init                              asks
    stackc init --yes --gpu rtx-4090 --task chat
    stackc init --yes --cpu                  no GPU
    stackc init --cpu --model Qwen/Qwen3-8B-GGUF
    stackc init --from coder-96gb my-coder
    """
    from compiler.cli.run.init import run

    run(name, **options)
