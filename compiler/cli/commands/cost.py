"""`stackc cost` on the command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from compiler.cli import complete
from compiler.cli.loudness import warning_options
from compiler.cli.paths import FILE
from compiler.cli.report import FORMAT

KINDS = ("on-demand", "reserved", "spot", "community", "marketplace", "serverless")
"""Those of compiler/prices/rentals.py, which takes longer to import than help may."""

_LONGEST_MONTH = 744
_MOST_TOKENS = 10**7


def _number(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """A bound says nothing of what is no number."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("it is no number")
    return value


@click.command("cost")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@click.option(
    "--hours",
    type=click.FloatRange(0, _LONGEST_MONTH, min_open=True),
    default=730,
    show_default=True,
    callback=_number,
    help="That the stack runs in a month.",
)
@click.option("--kind", type=click.Choice(KINDS), help="How the GPUs are let; else by your own price, else on demand.")
@click.option("--provider", help="Count only this one's offers.")
@click.option(
    "--input",
    "prompt",
    type=click.IntRange(1, _MOST_TOKENS),
    help="Tokens of a prompt on average; else as speeds are told for.",
)
@click.option("--output", "answer", type=click.IntRange(1, _MOST_TOKENS), help="Likewise, of an answer.")
@click.option(
    "--utilization",
    type=click.FloatRange(0, 1, min_open=True),
    default=1,
    show_default=True,
    callback=_number,
    help="How busy the servers are, as a share of what they can do.",
)
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Ages are counted from this day, and not from today.")
@warning_options
@FORMAT  # fmt: skip
def command(specs: tuple[Path, ...], **options: Any) -> None:
    """Say what SPECS (default: every stacks/*.yaml) cost, by the hour, the month and the million tokens, as ranges.

    Prices are dated offers, and those of your own `models.yaml`. Storage, traffic, tax and contracts are in none.
    """
    from compiler.cli.run.cost.run import run

    run(specs, **options)
