"""`stackc fit` about many cards: a line each, those with least memory first."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.catalog.hardware.gpus import GPUS, Gpu, same_gpus
from compiler.choose.cards import by_memory, over_cards
from compiler.choose.demand import read_question
from compiler.cli.loudness import SpecLevels
from compiler.cli.report import Exit, finish
from compiler.cli.run.fit.document import card_object
from compiler.cli.run.fit.facts import Known, known_facts
from compiler.cli.run.fit.question import Cards, FitQuestion, fit_question
from compiler.cli.run.fit.table import card_lines
from compiler.diagnostics import Diagnostic
from compiler.prices.user import user_prices
from compiler.source.user_file import SPECS, user_files


def run(
    model: str,
    names: tuple[str, ...],
    cards: Cards,
    *,
    form: str,
    asks_hub: bool,
    assume: str | None,
    levels: SpecLevels,
    **options: Any,
) -> NoReturn:
    """Ask the question of each card, tell the answers, and end the run.

    Args:
        names: of the catalogue; none for all.
        cards: what else was typed of them.
    """
    gpus = _named(names)
    question = fit_question(model, replace(cards, gpu=gpus[0].name), **options)
    known = None if asks_hub else known_facts(question)
    question = question if known is None else known.question
    read, found = read_question(json.dumps(question.data, indent=1), assumes_full=assume == "full")
    found = (*found, *(read.faults if read is not None else ()))
    if read is None or found:
        finish(form, _told(found, question, levels), result={}, lines=())
    known = known or _asked_of_hub(question, form, levels)
    prices, told = user_prices(user_files(Path(SPECS)), dt.datetime.now(dt.UTC).date())
    answers = list(over_cards(read, known.lock, gpus, own=prices.rentals))
    otherwise = Exit.FINE if any(each.fit.solution is not None for each in answers) else Exit.FAILED
    facts = {"facts_from": known.source, "model": known.question.model, "candidates": sorted(known.lock.models)}
    result = {**facts, "cards": list(map(card_object, answers))}
    lines = [*card_lines(answers, str(options["context"])), f"facts from {known.source}"]
    finish(form, (*known.warnings, *told), result=result, lines=lines, otherwise=otherwise)


def _named(names: Iterable[str]) -> list[Gpu]:
    unknown = next((name for name in names if name not in GPUS), None)
    if unknown is not None:
        same = f"did you mean {' or '.join(same_gpus(unknown))}? " if same_gpus(unknown) else ""
        raise click.UsageError(f"unknown GPU {unknown}: {same}`stackc gpus` lists them")
    return by_memory((GPUS[name] for name in dict.fromkeys(names)) if names else GPUS.values())


def _told(found: Iterable[Diagnostic], question: FitQuestion, levels: SpecLevels) -> tuple[Diagnostic, ...]:
    return levels.for_spec(Path("fit.yaml")).applied(question.typed.quoting(each) for each in found)


def _asked_of_hub(question: FitQuestion, form: str, levels: SpecLevels) -> Known:
    # Imported for whoever asks: nothing else here goes online.
    from compiler.cli.run.fit.one import lock_from_hub  # noqa: PLC0415

    return Known("the Hub", question, lock_from_hub(question, form, levels.for_spec(Path("fit.yaml"))))
