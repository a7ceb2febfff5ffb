"""Grades of the models that ship, worked out beforehand: `python -m tools.grade_models` writes them anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from compiler.choose.grades.benchmarks import ranked_kinds
from compiler.choose.grades.model import UNKNOWN, Evidence, Grade
from compiler.registry.entry import ModelEntry, Task
from compiler.registry.read import Registry

FILE = "shipped.json"


def grades(task: Task, registry: Registry, language: str | None = None) -> Mapping[str, Grade]:
    """Where models stand at a task, for every model of a registry.

    Args:
        task: of `UNGRADED` tasks every grade is unknown.
        language: only by tests held in it, such as `de`; of a language that no test is held in, every grade is unknown.
    """
    known = _graded(task if language is None else f"{task}, {language}")
    if registry.own_sets:
        # Most runs have no such figures, and need none of what works grades out.
        from compiler.choose.grades.own import has_own, with_own  # noqa: PLC0415

        if has_own(task, registry, language):
            known = with_own(task, registry, language, known)
    kinds = ranked_kinds(task)
    return {name: _as_kind(known.get(name, UNKNOWN), entry, kinds) for name, entry in registry.models.items()}


def _as_kind(grade: Grade, entry: ModelEntry, kinds: frozenset[str]) -> Grade:
    """A grade as it holds for a model that a user's file may call of another kind than ships."""
    if grade.position is None or entry.kind in kinds:
        return grade
    return Grade("no_common_test", evidence=tuple(replace(each, rank=1, of=1) for each in grade.evidence))


@cache
def _graded(key: str) -> Mapping[str, Grade]:
    section = _file()["rankings"].get(key)
    if section is None:
        return {}
    sets = section["sets"]
    return {name: _grade(row, sets) for name, row in section["models"].items()}


def _grade(row: list[Any], sets: list[Any]) -> Grade:
    kind, place, (compared, parties, newest), evidence = row
    position, low, high = place or (None, None, None)
    shown = tuple(_evidence(sets[number], value, rank, of) for number, value, rank, of in evidence)
    return Grade(kind, position, low, high, compared, parties, newest, shown)


def _evidence(described: list[Any], value: float, rank: int, of: int) -> Evidence:
    test, run_by, independent, date, unit, source = described
    return Evidence(test, run_by, independent, date, value, unit, rank, of, source)


def written(rankings: Mapping[str, Mapping[str, Grade]], inputs: str) -> str:
    """The file's text, a model a line.

    Args:
        rankings: of tasks, or of a task and a language as in `de`, grades by the models' names.
        inputs: a digest of what they are worked out of.
    """
    sections = [f"{json.dumps(key)}: {_section(grades_)}" for key, grades_ in rankings.items() if grades_]
    return f'{{"inputs": {json.dumps(inputs)},\n"rankings": {{\n' + ",\n".join(sections) + "\n}}\n"


def _section(graded: Mapping[str, Grade]) -> str:
    shown = (each for grade in graded.values() for each in grade.evidence)
    sets = {row: number for number, row in enumerate(sorted(dict.fromkeys(map(_described, shown)), key=str))}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(_row(grade, sets))}" for name, grade in graded.items())
    described = ",\n".join(json.dumps(row) for row in sets)
    return f'{{"sets": [\n{described}],\n"models": {{\n{lines}}}}}'


def _described(each: Evidence) -> tuple[Any, ...]:
    return (each.test, each.run_by, each.independent, each.date, each.unit, each.source)


def _row(grade: Grade, sets: Mapping[tuple[Any, ...], int]) -> list[Any]:
    place = None if grade.position is None else [grade.position, grade.low, grade.high]
    evidence = [[sets[_described(each)], each.value, each.rank, each.of] for each in grade.evidence]
    return [grade.kind, place, [grade.sets, grade.parties, grade.newest], evidence]


def inputs_of_file() -> str:
    """The digest of what the file was worked out of."""
    return str(_file()["inputs"])


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(resources.files("compiler.choose.grades").joinpath(FILE).read_bytes())
    return found
