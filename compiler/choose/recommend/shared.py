"""One server for several tasks of a stack, where its model is at none of them worse than one of its own would be.

A server more takes a context, buffers and a margin of its own, which a better model may need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.choose.recommend.choice import Choice
from compiler.choose.recommend.recommend import Recommendation, recommend
from compiler.choose.recommend.stack import Stack, best_stack, other_wish, solved
from compiler.choose.recommend.wish import Cards, Need, Wish, profile_of
from compiler.choose.recommend.written import Part, service_name
from compiler.prices.user import UserPrices
from compiler.registry.entry import Task
from compiler.registry.read import Registry


@dataclass(frozen=True, slots=True)
class _Tasks:
    """What serves each task alone, on the same cards.

    Attributes:
        together: tasks that one server may have, the one that was asked for first.
        apart: others.
    """

    found: Mapping[Task, Recommendation]
    together: tuple[Task, ...]
    apart: tuple[Task, ...]

    def place(self, task: Task, choice: Choice) -> int:
        """Of a model among those that fit, by quality at a task; the first is 1, and what does not fit comes last."""
        names = [row.entry.id for row in self.found[task].rows]
        return names.index(choice.entry.id) + 1 if choice.entry.id in names else len(names) + 1


def stack_for(
    first: Recommendation, others: Sequence[Task], cards: Cards, known: Registry, user: UserPrices
) -> Stack | None:
    """The best stack of a task and others on the same cards; None where nothing fits together."""
    found = {task: recommend(known, other_wish(first.wish, task), cards, user) for task in others}
    serving = first.wish.profile.serving
    together = tuple(task for task in others if profile_of(task).serving == serving)
    tasks = _Tasks(
        {first.wish.task: first, **found},
        (first.wish.task, *together),
        tuple(task for task in others if task not in together),
    )
    usual = best_stack(first, [other_wish(first.wish, task) for task in others], cards, known, user)
    shared = _shared(first, tasks, cards, known, user) if together else None
    if shared is None or (usual is not None and not _is_no_worse(shared, usual, tasks)):
        return usual
    return _told(shared, usual, tasks, cards) or usual


def _shared(first: Recommendation, tasks: _Tasks, cards: Cards, known: Registry, user: UserPrices) -> Stack | None:
    """With one server for all that one may have, of the best model at the first of them that does each."""
    both = recommend(known, _joint(first.wish, tasks.together), cards, user)
    able = [{row.entry.id for row in tasks.found[task].rows} for task in tasks.together]
    rows = tuple(row for row in both.rows if all(row.entry.id in names for names in able))
    apart = [other_wish(first.wish, task) for task in tasks.apart]
    return best_stack(replace(both, rows=rows), apart, cards, known, user)


def _joint(wish: Wish, tasks: Sequence[Task]) -> Wish:
    """What all tasks ask of one server: as many requests at once as they have together, and what each needs."""
    others = [other_wish(wish, task) for task in tasks[1:]]
    needs = [need for each in others for need in (*each.all_needs, *_media(each))]
    at_once = wish.at_once + sum(each.at_once for each in others)
    return replace(wish, concurrency=at_once, users=None, needs=tuple(dict.fromkeys((*wish.needs, *needs))))


def _media(wish: Wish) -> tuple[Need, ...]:
    return tuple(each for each in wish.modalities if each != "text")


def _is_no_worse(shared: Stack, usual: Stack, tasks: _Tasks) -> bool:
    """Whether no task has a worse model than with a server for each."""
    of_shared = dict(zip(tasks.apart, shared.parts[1:], strict=True))
    return all(
        _is_as_good(tasks, part.wish.task, of_shared.get(part.wish.task, shared.parts[0]).choice, part.choice)
        for part in usual.parts
    )


def _is_as_good(tasks: _Tasks, task: Task, one: Choice, other: Choice) -> bool:
    """By what is known of both, be it thin; where there is nothing of one, by their places."""
    grades = tasks.found[task].grades
    positions = [grades[each.entry.id].position if each.entry.id in grades else None for each in (one, other)]
    if positions[0] is not None and positions[1] is not None:
        return positions[0] >= positions[1]
    return tasks.place(task, one) <= tasks.place(task, other)


def _told(shared: Stack, usual: Stack | None, tasks: _Tasks, cards: Cards) -> Stack | None:
    """With what the server is for, and what would serve these tasks apart; proved again under its new name."""
    part = shared.parts[0]
    places = " and ".join(
        f"place {tasks.place(task, part.choice)} of {len(tasks.found[task].rows)} at {task}" for task in tasks.together
    )
    apart = ""
    if usual is not None:
        each = ((one.wish.task, one.choice) for one in usual.parts if one.wish.task in tasks.together)
        apart = "; with a server for each it would be " + " and ".join(
            f"{choice.entry.id} for {task} (place {tasks.place(task, choice)})" for task, choice in each
        )
    name = "-".join(service_name(task) for task in tasks.together)
    told = Part(name, part.choice, part.wish, f"{part.why} One server for {_words(tasks.together)}: {places}{apart}.")
    parts = (told, *shared.parts[1:])
    solution = solved(parts, cards)
    return None if solution is None else replace(shared, parts=parts, solution=solution)


def _words(tasks: Sequence[Task]) -> str:
    return f"{', '.join(tasks[:-1])} and {tasks[-1]}"
