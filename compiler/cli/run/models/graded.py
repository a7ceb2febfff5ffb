"""Where a model stands at each task, as it is told: with what that rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from compiler.choose.grades import UNGRADED, UNKNOWN, Evidence, Grade, grades, languages_of
from compiler.cli.terminal import wrapped
from compiler.registry.entry import TASKS, ModelEntry, Task
from compiler.registry.read import Registry

_INDENT = 2
_NO_COMMON_TEST = "no common test; it has figures, and none compares it to the others"


def grades_of(entry: ModelEntry, known: Registry) -> dict[Task, Grade]:
    """Grades at the tasks that people use a model for, and at all others of which it has figures."""
    found = {task: grades(task, known)[entry.id] for task in TASKS}
    return {task: grade for task, grade in found.items() if task in entry.tasks or grade != UNKNOWN}


def grade_lines(graded: Mapping[Task, Grade], entry: ModelEntry, known: Registry) -> Iterator[str]:
    """For people: a paragraph a task, and one for all of which nothing is known."""
    if not graded:
        return
    yield ""
    yield from wrapped("grades: of the models that are compared at a task, the share that it stands above", 0)
    for task, grade in graded.items():
        if task in UNGRADED:
            yield from wrapped(f"{task}: not graded; {UNGRADED[task]}", _INDENT)
        elif grade.kind != "unknown":
            yield from _paragraph(task, grade, _by_language(task, entry, known))
    unknown = [task for task, grade in graded.items() if grade.kind == "unknown" and task not in UNGRADED]
    if unknown:
        words = f"{', '.join(unknown)}: unknown; no figure is known, which says nothing of its quality"
        yield from wrapped(words, _INDENT)


def _paragraph(task: Task, grade: Grade, languages: Mapping[str, Grade]) -> Iterator[str]:
    yield from wrapped(f"{task}: {_told(grade)}", _INDENT)
    if languages:
        told = (f"{language} {each.position:.2f}" for language, each in languages.items())
        yield from wrapped(f"by language, each on one test: {', '.join(told)}", 2 * _INDENT)
    if grade.position is not None:
        yield from wrapped("; ".join(map(_rank, grade.evidence)), 2 * _INDENT)


def _told(grade: Grade) -> str:
    if grade.position is None:
        return _NO_COMMON_TEST
    sets = f"{grade.sets} set{'s' if grade.sets > 1 else ''}"
    parties = f"{grade.parties} {'parties' if grade.parties > 1 else 'party'}"
    place = f"{grade.kind} {grade.position:.2f} ({grade.low:.2f} to {grade.high:.2f})"
    return f"{place}; {sets} of {parties}{_thin(grade)}, newest {grade.newest}"


def _thin(grade: Grade) -> str:
    """Why it is no better than thin."""
    if grade.kind != "thin":
        return ""
    return ", one test" if any(each.independent for each in grade.evidence) else ", makers alone"


def _rank(each: Evidence) -> str:
    party = "" if each.independent else f", by {each.run_by}"
    return f"{each.rank} of {each.of} in {each.test}{party}"


def _by_language(task: Task, entry: ModelEntry, known: Registry) -> dict[str, Grade]:
    found = {language: grades(task, known, language)[entry.id] for language in languages_of(task)}
    return {language: grade for language, grade in found.items() if grade.position is not None}


def grade_objects(graded: Mapping[Task, Grade], entry: ModelEntry, known: Registry) -> dict[str, Any]:
    """For programs: by task."""
    return {
        task: {
            **asdict(grade),
            "evidence": [asdict(each) for each in grade.evidence],
            "not_graded": UNGRADED.get(task),
            "languages": {name: asdict(each) for name, each in _by_language(task, entry, known).items()},
        }
        for task, grade in graded.items()
    }
