"""The smallest machine that a model runs on, for each way in which its weights are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from compiler.catalog.hardware.gpus import GPUS, Gpu
from compiler.choose.candidates import Candidates
from compiler.choose.cards import CardAnswer, by_memory, over_cards
from compiler.choose.demand import Demand, Question, question_of
from compiler.choose.fits import lock_of
from compiler.ledger import Verdict
from compiler.lock.models import Lock, ModelFacts
from compiler.lock.quantization import quantization_method
from compiler.prices.rentals import Rental
from compiler.registry.entry import ModelEntry
from compiler.spec.services import Task

COUNTS = (1, 2, 4, 8)
"""GPUs of one machine that are tried, few first."""

_CONTEXT = 8192
_TASKS: Mapping[str, Task] = {"embedding": "embed", "reranker": "score"}
# Weights are more than this part of what a model needs that one card is too small for.
_MOSTLY_WEIGHTS = 0.8


@dataclass(frozen=True, slots=True)
class Least:
    """Of the checkpoints of one quantization method.

    Attributes:
        method: or `none`.
        repositories: that are stored so, the model's own first.
        answer: on the smallest machine that it is proved to fit on; None where there is none.
        refusal: the code and the words of what stands against it where it is no matter of memory.
    """

    method: str
    repositories: tuple[str, ...]
    answer: CardAnswer | None
    refusal: tuple[str, str] | None = None


def usual_demand(entry: ModelEntry) -> Demand:
    """One request of 8K tokens, or as many as the model was trained for, of what it was trained to do."""
    return Demand(context=min(_CONTEXT, entry.context), task=_TASKS.get(entry.kind, "completion"))


def least_machines(found: Candidates, demand: Demand, *, own: Sequence[Rental] = ()) -> Iterator[Least]:
    """For each method, those with the model's own weights first; the fewest GPUs, and of these the smallest.

    Args:
        own: the user's prices.
    """
    methods = {name: quantization_method(facts) for name, facts in found.models.items()}
    order = list(dict.fromkeys(methods.values()))
    names = sorted(methods, key=lambda name: order.index(methods[name]))
    for method, group in groupby(names, key=methods.__getitem__):
        models = {name: found.models[name] for name in group}
        yield _least(method, models, demand, own)


def _least(method: str, models: Mapping[str, ModelFacts], demand: Demand, own: Sequence[Rental]) -> Least:
    question, lock = question_of(demand), lock_of(next(iter(models)), models, demand.quantization)
    repositories = tuple(models)
    last: CardAnswer | None = None
    for each in _answers(question, lock, own):
        if each.is_proved:
            return Least(method, repositories, each)
        last = each if last is None or each.fit.verdict is None else last
    refused = last is not None and last.fit.verdict is None
    fit = last.fit if last is not None and refused else None
    return Least(method, repositories, None, (fit.code or "", fit.reason or "") if fit is not None else None)


def _answers(question: Question, lock: Lock, own: Sequence[Rental]) -> Iterator[CardAnswer]:
    """Of machines, small ones first; without those that weights alone are too large for."""
    needed = 0
    for count in COUNTS:
        for gpu in by_memory(GPUS.values()):
            if gpu.memory * count < needed * _MOSTLY_WEIGHTS:
                continue
            answer = _asked(question, lock, gpu, count, own)
            needed = max(needed, _needed(answer)) if count == 1 else needed
            yield answer


def _needed(answer: CardAnswer) -> int:
    """Bytes on one card, where it is known that they are too many."""
    return answer.gpu.memory + (answer.fit.short or 0) if answer.fit.verdict is Verdict.UNFIT else 0


def _asked(question: Question, lock: Lock, gpu: Gpu, count: int, own: Sequence[Rental]) -> CardAnswer:
    return next(over_cards(question, lock, (gpu,), count=count, own=own, wants_most=False))
