"""`stackc models` on the command line."""

from __future__ import annotations

from typing import Any

import click

from compiler.cli import complete
from compiler.cli.loudness import loudness_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT

KINDS = ("instruct", "reasoning", "base", "embedding", "reranker")
TASKS = (
    *("agent", "audio", "chat", "code", "completion", "creative", "edge", "embedding", "finetune", "legal"),
    *("long-context", "math", "medical", "multilingual", "ocr", "rag", "reasoning", "rerank", "tools", "uncensored"),
    "vision",
)
"""Those of compiler/registry/entry.py, which takes longer to import than help may."""


@click.group("models", invoke_without_command=True)
@click.option("--task", type=click.Choice(TASKS), metavar="TASK", help=f"Used for: {', '.join(TASKS)}.")
@click.option("--kind", type=click.Choice(KINDS), help="Trained to be.")
@click.option(
    "--license",
    "license_",
    type=click.Choice(["commercial", "any"]),
    default="any",
    show_default=True,
    help="`commercial`: its licence allows commercial use, be it under a condition.",
)
@click.option("--language", metavar="CODE", help="That its card names, such as de; no measurement.")
@click.option("--context", metavar="TOKENS", help="Trained for at least so many, such as 64K.")
@click.option("--min-parameters", "least", metavar="COUNT", help="At least so many in all, such as 7B.")
@click.option("--max-parameters", "most", metavar="COUNT", help="At most so many in all, such as 30B.")
@click.option("--all", "shows_all", is_flag=True, help="Not only the newest 40.")
@FORMAT
@click.pass_context
def command(group: click.Context, /, **options: Any) -> None:
    """List the models of the registry, with the user's own, the newest first.

    Own models stand in stacks/models.yaml or in ~/.config/stackc/models.yaml, and what these say wins.
    """
    if group.invoked_subcommand is None:
        from compiler.cli.run.models.listing import run

        run(**options)


@command.command("info")
@click.argument("model", shell_complete=complete.known_models)
@loudness_options
@FORMAT
def info(model: str, form: str) -> None:
    """Tell everything that is known of MODEL, with where it is from."""
    from compiler.cli.run.models.info import run

    run(model, form=form)


@command.command("add")
@click.argument("model")
@click.option("--from-hub", "asks_hub", is_flag=True, help="Ask the Hub even where a lock in stacks/ knows the model.")
@click.option("--config", type=FILE, help="Read a config.json instead, of a model that no Hub has.")
@click.option("--base", metavar="MODEL", shell_complete=complete.known_models, help="Of which it is a fine-tune.")
@click.option("--to", type=FILE, help="The file to write to.  [default: stacks/models.yaml]")
@loudness_options
@FORMAT
def add(model: str, **options: Any) -> None:
    """Describe MODEL in a file of one's own, which keeps all else that it says.

    Facts are those of a lock in stacks/ if one holds the model, else of the Hub. What is not known is left out, or
    taken from the model's base: read the row, and complete it.
    """
    from compiler.cli.run.models.add import run

    run(model, **options)
