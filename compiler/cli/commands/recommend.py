"""`stackc recommend` on the command line."""

from __future__ import annotations

import math
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.commands.models import TASKS
from compiler.cli.loudness import loudness_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT

CRITERIA = ("quality", "fastest", "cheapest", "smallest", "balanced")
"""Those of compiler/choose/recommend/lists.py, which takes longer to import than help may."""

_LIKEWISE = {"embed": "embedding", "score": "rerank", "reranker": "rerank"}
_MOST_REQUESTS, _MOST_USERS, _MOST_RATE, _MOST_SECONDS = 65_536, 10**6, 10**5, 3600


class _Task(click.Choice[str]):
    """A task of the registry, in its own word or in that of specs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The registry's word."""
        return super().convert(_LIKEWISE.get(value, value), param, ctx)


def _number(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """A bound says nothing of what is no number."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("it is no number")
    return value


@click.command("recommend")
@click.option("--task", type=_Task(TASKS), metavar="TASK", help=f"What for: {', '.join(TASKS)}.")
@click.option("--gpu", shell_complete=complete.gpus, help="On which cards: a catalog name (`stackc gpus`).")
@click.option("--count", type=click.IntRange(1, 64), help="How many of them: 1, and with --here all that there are.")
@click.option("--here", is_flag=True, help="On the GPUs of this machine, as nvidia-smi has them.")
@click.option("--budget", metavar="AMOUNT", help="Of the GPUs at most, such as 2.0/h, 1500/month or 2EUR/h.")
@click.option("--model", shell_complete=complete.known_models, help="The other way: which cards this one runs on.")
@click.option("--context", metavar="TOKENS", help="Of one request, such as 32K.  [default: 8K where that fits]")
@click.option("--concurrency", type=click.IntRange(1, _MOST_REQUESTS), help="Such requests at once.  [default: 1]")
@click.option("--users", type=click.IntRange(1, _MOST_USERS), help="In place of --concurrency: 1 for every 5 users.")
@click.option(
    "--license",
    "license_",
    type=click.Choice(["commercial", "any"]),
    default="any",
    show_default=True,
    help="`commercial`: its licence allows commercial use, be it under a condition.",
)
@click.option("--language", "languages", multiple=True, metavar="CODE", help="That its card names, such as de.")
@click.option("--features", metavar="WORDS", help="tools, reasoning, structured-output, image, video, audio.")
@click.option(
    "--min-speed",
    type=click.FloatRange(0, _MOST_RATE, min_open=True),
    callback=_number,
    help="Tokens a second that each request is expected to get.",
)
@click.option(
    "--max-ttft",
    type=click.FloatRange(0, _MOST_SECONDS, min_open=True),
    callback=_number,
    help="Seconds to the first token, likewise.",
)
@click.option("--max-parameters", metavar="COUNT", help="In all, such as 30B.")
@click.option("--quantization", multiple=True, metavar="METHOD", help="As in a spec; may be repeated.")
@click.option("--publisher", "publishers", multiple=True, help="Of the model; may be repeated.")
@click.option("--also", metavar="TASKS", help="Served on the same cards, such as `embed, rerank`.")
@click.option("--why-not", "questioned", multiple=True, metavar="MODEL", help="Say where that one stands, and why.")
@click.option("--all", "shows_all", is_flag=True, help="Also list every model that is left.")
@click.option("--write", "target", type=FILE, help="Write a spec of a winner, such as stacks/NAME.yaml.")
@click.option("--pick", type=click.Choice(CRITERIA), default="quality", show_default=True, help="Whose, for --write.")
@loudness_options
@FORMAT
def command(**options: Any) -> None:
    """Recommend models for a task on given cards, or on rented ones within a budget; or cards for a model.

    Memory is proved in bytes, speed and quality are told with what they rest on. It asks nobody: all facts ship with
    stackc or stand in your own models.yaml.
    """
    from compiler.cli.run.recommend.run import run

    run(**options)
