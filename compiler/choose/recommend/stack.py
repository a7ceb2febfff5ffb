"""Several services on the same cards: the first task's model comes first, and each other is the best that fits beside.

All of them are proved together, by the solver that compiles the spec.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from compiler.choose.demand import gpus, read_question
from compiler.choose.recommend.candidates import Proof, memory_of, prove
from compiler.choose.recommend.choice import Choice, choice_of, is_fast_enough
from compiler.choose.recommend.constraints import Option
from compiler.choose.recommend.recommend import Recommendation, recommend
from compiler.choose.recommend.wish import Cards, Wish
from compiler.choose.recommend.written import Part, quantization_word, service_name, stack_data
from compiler.ledger import Verdict
from compiler.lock.models import Lock, LockedService
from compiler.prices.user import UserPrices
from compiler.registry.entry import Task
from compiler.registry.read import Registry
from compiler.solve.attempt import FirstFit, first_fit, machine_of
from compiler.solve.budget import Solution
from compiler.spec.services import POOLING
from compiler.units import format_gib, format_tokens

_MOST_TRIED = 60
"""Models of a task that are tried beside others, the best first."""
PASSAGE = 2048
"""Tokens of a text of a search index, where longer ones would cost the first task's model its place. An assumption."""
_SHARE = 10
"""Of the memory such a part is left to each service while the first one's model is chosen. An assumption."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Services that are proved to fit together.

    Attributes:
        parts: the first is of the task that was asked for.
        passed: for each part, better models that found no room beside the others.
    """

    parts: tuple[Part, ...]
    solution: Solution
    passed: tuple[tuple[str, ...], ...]


def other_wish(wish: Wish, task: Task) -> Wish:
    """The same conditions of another task, without those that are of the first one's requests."""
    return replace(
        wish,
        task=task,
        context=None,
        needs=(),
        min_rate=None,
        max_ttft=None,
        most_parameters=None,
        methods=(),
        publishers=(),
    )


def best_stack(
    first: Recommendation, wishes: Sequence[Wish], cards: Cards, known: Registry, user: UserPrices
) -> Stack | None:
    """The best stack of what serves a task, and of services for other wishes; None where nothing fits together.

    Texts that are embedded or scored are asked about as long ones, and as passages where the first task's model is a
    better one then.
    """
    usual = stack_of([first, *(recommend(known, wish, cards, user) for wish in wishes)], cards, user)
    passages = [replace(wish, context=PASSAGE) if wish.profile.serving in POOLING else wish for wish in wishes]
    if passages == list(wishes) or (usual is not None and not usual.passed[0]):
        return usual
    shorter = stack_of([first, *(recommend(known, wish, cards, user) for wish in passages)], cards, user)
    if shorter is None or (usual is not None and len(usual.passed[0]) <= len(shorter.passed[0])):
        return usual
    return shorter


def stack_of(found: Sequence[Recommendation], cards: Cards, user: UserPrices) -> Stack | None:
    """The best stack of a task and of others; None where nothing fits together.

    Args:
        found: for each task what fits by itself on these cards; the first task's model comes first.
    """
    if not all(each.rows for each in found):
        return None
    for least in (_modest, _smallest_of_all):
        stack = _filled([_part(each, least(each), "") for each in found], found, cards, user)
        if stack is not None:
            return stack
    return None


def _filled(parts: list[Part], found: Sequence[Recommendation], cards: Cards, user: UserPrices) -> Stack | None:
    """Each part exchanged for the best that fits beside the others, the first one first."""
    passed: list[tuple[str, ...]] = []
    for index, each in enumerate(found):
        chosen, without = _best(parts, index, each, cards, user)
        if chosen is None and index == 0:
            return None
        choice = chosen or parts[index].choice
        shared = _shared(parts[0].choice, choice, each) if index else ""
        parts[index] = _part(each, choice, f"{_why(each, choice, without)}{shared}")
        passed.append(without)
    solution = solved(parts, cards)
    return None if solution is None else Stack(tuple(parts), solution, tuple(passed))


def _shared(first: Choice, choice: Choice, found: Recommendation) -> str:
    """That the first task's model does this task better than what finds room beside it."""
    names = [row.entry.id for row in found.rows]
    if first.entry.id not in names or names.index(first.entry.id) >= names.index(choice.entry.id):
        return ""
    place = names.index(first.entry.id) + 1
    return f" {first.entry.short_name} itself is place {place} at {found.graded_at}: one server could do both."


def _part(found: Recommendation, choice: Choice, why: str) -> Part:
    return Part(service_name(found.wish.task), choice, found.wish, why)


def _modest(found: Recommendation) -> Choice:
    """The best that leaves the others nine tenths of the memory; where none does, the smallest."""
    room = memory_of(found.machines[0]) // _SHARE
    return next((choice for choice in found.rows if choice.weights <= room), _smallest_of_all(found))


def _smallest_of_all(found: Recommendation) -> Choice:
    return min(found.rows, key=lambda choice: (choice.weights, choice.place))


def _best(
    parts: Sequence[Part], index: int, found: Recommendation, cards: Cards, user: UserPrices
) -> tuple[Choice | None, tuple[str, ...]]:
    """The best model that fits beside the other parts, and those before it that do not."""
    passed: list[str] = []
    by_name = {option.entry.id: option for option in found.options}
    for row in found.rows[:_MOST_TRIED]:
        for choice in _ways(row, by_name[row.entry.id], found.wish, cards, user):
            tried = [*parts[:index], _part(found, choice, ""), *parts[index + 1 :]]
            if solved(tried, cards) is not None:
                return choice, tuple(passed)
        passed.append(row.entry.id)
    return None, tuple(passed)


def _ways(row: Choice, option: Option, wish: Wish, cards: Cards, user: UserPrices) -> Iterator[Choice]:
    """The row, then the model in no more bits: of those with as many, the first and the smallest."""
    yield row
    tried = [each for each in option.checkpoints if each.bits <= row.checkpoint.bits and each is not row.checkpoint]
    for _, group in groupby(tried, key=lambda each: each.bits):
        proofs = (prove((each,), wish, cards, row.proof.context) for each in group)
        choices = [choice_of(option, proof, wish, user) for proof in proofs if isinstance(proof, Proof)]
        choices = [choice for choice in choices if is_fast_enough(choice, wish)]
        smallest = sorted(choices, key=lambda choice: choice.weights)[:1]
        yield from {choice.checkpoint.repository: choice for choice in (*choices[:1], *smallest)}.values()


def solved(parts: Sequence[Part], cards: Cards) -> Solution | None:
    """All parts together, proved; None where they are not."""
    data = stack_data(parts, cards)
    question, _ = read_question(json.dumps(data))
    if question is None or question.faults:
        return None
    spec = question.file.spec.model_copy(update={"nodes": {"node": gpus(cards.gpu, cards.count)}})
    found = first_fit(machine_of(spec.nodes["node"]), spec, locked(parts), question.engines, wants_margin=False)
    if not isinstance(found, FirstFit) or found.verdict is not Verdict.FITS:
        return None
    return found.solution()


def locked(parts: Sequence[Part]) -> Lock:
    """What a lock of their spec would hold, by the facts that they were proved with."""
    services = {
        part.name: LockedService(
            model=part.choice.checkpoint.repository,
            quantization=(quantization_word(part.choice),),
            candidates=(part.choice.checkpoint.repository,),
        )
        for part in parts
    }
    models = {part.choice.checkpoint.repository: part.choice.checkpoint.facts for part in parts}
    return Lock(schema=1, services=services, models=models)


def _why(found: Recommendation, choice: Choice, passed: Sequence[str]) -> str:
    """Its place, and what was passed over for lack of room."""
    names = [row.entry.id for row in found.rows]
    place = f"Place {names.index(choice.entry.id) + 1} of {len(names)} by quality at {found.graded_at}"
    size = f"{format_gib(choice.weights)} GiB of weights as {choice.checkpoint.form}"
    if found.wish.context == PASSAGE and found.wish.profile.serving in POOLING:
        size += f", for texts of {format_tokens(PASSAGE)}, so that the first task's model finds room"
    without = f"; better ones find no room beside the others: {', '.join(passed[:3])}" if passed else ""
    return f"{place}, {size}{without}."
