"""How models stand at a task; where hardly any test is of the task, at the nearest that has tests, which is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.choose.grades import Grade, grades
from compiler.choose.recommend.wish import profile_of
from compiler.registry.entry import Task
from compiler.registry.read import Registry

_ENOUGH = 10
"""Models with a place, below which an order says little of the others."""

_NEAREST: Mapping[Task, Task] = {"tools": "agent"}


@dataclass(frozen=True, slots=True)
class Standing:
    """Grades of all models.

    Attributes:
        at: the task that they are of.
        grades: by models' names; of another task they are thin, whatever they rest on there.
    """

    at: Task
    grades: Mapping[str, Grade]


def standing(task: Task, known: Registry) -> Standing:
    """At the task itself where enough models have a place there."""
    own = grades(task, known)
    if sum(grade.position is not None for grade in own.values()) >= _ENOUGH:
        return Standing(task, own)
    nearest = _NEAREST.get(task, "chat")
    if nearest == task or profile_of(task).serving != "chat":
        return Standing(task, own)
    other = grades(nearest, known)
    return Standing(nearest, {name: _as_thin(grade) for name, grade in other.items()})


def _as_thin(grade: Grade) -> Grade:
    return replace(grade, kind="thin") if grade.kind == "graded" else grade
