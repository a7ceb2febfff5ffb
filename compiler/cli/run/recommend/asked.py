"""What `stackc recommend` was asked, read from its options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast, get_args

import click

from compiler.catalog.hardware.gpus import GPUS, same_gpus
from compiler.choose.recommend.wish import NEEDS, Budget, Cards, Need, Wish
from compiler.cli.commands.models import TASKS
from compiler.cli.run.machine import detect
from compiler.diagnostics.render import visible
from compiler.prices.owned import HOURS_PER_MONTH
from compiler.registry.entry import Task
from compiler.registry.quantities import parse_parameters
from compiler.units import UnitError, parse_tokens

_SHOWN = 60
_LONGEST_CONTEXT = 10**8
_BUDGET = re.compile(
    r"(?P<amount>\d{1,9}(\.\d{1,4})?) ?(?P<currency>[A-Za-z]{3})? ?/ ?(?P<per>h|hour|month|mo)", re.ASCII
)
_LANGUAGE = re.compile(r"[a-z]{2,3}", re.ASCII)
_WORDS = {"vision": "image", "structured": "structured-output", "thinking": "reasoning"}


def wish_of(
    task: str,
    *,
    context: str | None,
    concurrency: int | None,
    users: int | None,
    license_: str,
    languages: Sequence[str],
    features: str | None,
    min_speed: float | None,
    max_ttft: float | None,
    max_parameters: str | None,
    quantization: Sequence[str],
    publishers: Sequence[str],
    budget: str | None,
) -> Wish:
    """The options as a wish.

    Raises:
        click.UsageError: they contradict each other, or one cannot be read.
    """
    if users is not None and concurrency is not None:
        raise click.UsageError("--users is in place of --concurrency")
    return Wish(
        task=cast("Task", task),
        context=_tokens(context),
        concurrency=concurrency,
        users=users,
        commercial=license_ == "commercial",
        languages=tuple(dict.fromkeys(map(_language, _listed(languages)))),
        needs=tuple(dict.fromkeys(map(_need, _listed([features or ""])))),
        min_rate=min_speed,
        max_ttft=max_ttft,
        most_parameters=_parameters(max_parameters),
        methods=tuple(dict.fromkeys(each for each in _listed(quantization) if each != "auto")),
        publishers=tuple(dict.fromkeys(_listed(publishers))),
        budget=_budget(budget),
    )


def also_of(text: str | None) -> tuple[Task, ...]:
    """Tasks of other services.

    Raises:
        click.UsageError: one is none.
    """
    likewise = {"embed": "embedding", "score": "rerank", "reranker": "rerank"}
    found = tuple(likewise.get(word, word) for word in _listed([text or ""]))
    unknown = next((word for word in found if word not in TASKS), None)
    if unknown is not None:
        raise click.BadParameter(f"{_short(unknown)} is no task: {', '.join(TASKS)}", param_hint="--also")
    return tuple(cast("Task", word) for word in dict.fromkeys(found))


def cards_of(gpu: str | None, count: int | None, *, here: bool) -> Cards | None:
    """The cards that are named or here; None where neither is said.

    Raises:
        click.UsageError: there are none such.
    """
    if here:
        if gpu is not None:
            raise click.UsageError("--here is in place of --gpu")
        return _here(count)
    if gpu is None:
        if count is not None:
            raise click.UsageError("--count is of the cards that --gpu names")
        return None
    names = (gpu,) if gpu in GPUS else same_gpus(gpu[:_SHOWN])
    if len(names) != 1:
        same = f"did you mean {' or '.join(names)}? " if names else ""
        raise click.UsageError(f"unknown GPU {_short(gpu)}: {same}`stackc gpus` lists them")
    return Cards(names[0], count or 1)


def _here(count: int | None) -> Cards:
    found = next(iter(detect()), None)
    if found is None:
        raise click.UsageError("nvidia-smi finds no GPU on this machine: --gpu names one")
    if found.name is None or found.mig is not None:
        raise click.UsageError(f"{found.title} is not in the catalog: --gpu names one that is like it")
    return Cards(found.name, count or found.count, are_owned=True)


def _listed(texts: Sequence[str]) -> list[str]:
    return [word for text in texts for word in re.split(r"[\s,]+", text) if word]


def _short(text: str) -> str:
    return visible(text[:_SHOWN])


def _tokens(text: str | None) -> int | None:
    try:
        found = None if text is None else parse_tokens(text[:_SHOWN])
    except UnitError as error:
        raise click.BadParameter(str(error), param_hint="--context") from error
    if found is not None and not 1 <= found <= _LONGEST_CONTEXT:
        raise click.BadParameter("no request has so many tokens", param_hint="--context")
    return found


def _parameters(text: str | None) -> int | None:
    try:
        return None if text is None else parse_parameters(text[:_SHOWN])
    except UnitError as error:
        raise click.BadParameter(str(error), param_hint="--max-parameters") from error


def _language(text: str) -> str:
    lowered = text.lower()
    if _LANGUAGE.fullmatch(lowered) is None:
        raise click.BadParameter(f"{_short(text)} is no code of ISO 639, such as de", param_hint="--language")
    return lowered


def _need(text: str) -> Need:
    word = _WORDS.get(text, text)
    if word not in get_args(Need):
        raise click.BadParameter(f"{_short(text)} is none of {', '.join(NEEDS)}", param_hint="--features")
    return cast("Need", word)


def _budget(text: str | None) -> Budget | None:
    if text is None:
        return None
    found = _BUDGET.fullmatch(text.strip())
    amount = 0.0 if found is None else float(found["amount"])
    if found is None or amount <= 0:
        raise click.BadParameter("write an amount above 0 as 2.0/h, 1500/month or 2EUR/h", param_hint="--budget")
    hours = 1.0 if found["per"].startswith("h") else HOURS_PER_MONTH
    return Budget(amount / hours, (found["currency"] or "USD").upper())
