"""Grades where a user's file has figures of its own: worked out when they are asked for, over the same sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compiler.choose.grades.benchmarks import sets_of
from compiler.choose.grades.model import UNKNOWN, Grade
from compiler.choose.grades.ranking import DIGITS, rank
from compiler.registry.entry import Task
from compiler.registry.read import Registry


def has_own(task: Task, registry: Registry, language: str | None) -> bool:
    """Whether a user's figures say something of a task."""
    return any(True for _ in sets_of(task, registry.own_sets, language))


def with_own(task: Task, registry: Registry, language: str | None, shipped: Mapping[str, Grade]) -> Mapping[str, Grade]:
    """The ranking with a user's figures in it.

    Drawing tests anew takes seconds, and is not done again: models that ship are as unsure as they were without those
    figures, and none is surer than what its tests stray.
    """
    found = rank(task, registry.models, registry.sets, language, draws=0)
    return {name: _as_unsure(grade, shipped.get(name, UNKNOWN)) for name, grade in found.items()}


def _as_unsure(grade: Grade, before: Grade) -> Grade:
    if grade.place is None or before.place is None:
        return grade
    (position, low, high), (was, was_low, was_high) = grade.place, before.place
    return replace(
        grade,
        low=round(max(0.0, min(low, position - (was - was_low))), DIGITS),
        high=round(min(1.0, max(high, position + (was_high - was))), DIGITS),
    )
