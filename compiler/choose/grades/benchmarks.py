"""Which test says something of which task: a reviewed table, and of the other tasks why no test does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from compiler.registry.entry import Kind, Task
from compiler.registry.scores import ScoreSet

UNGRADED: Mapping[Task, str] = {
    "audio": "no set of scores hears",
    "edge": "how large a model may be is no matter of grades",
    "finetune": "no set measures what a model becomes by training",
    "legal": "no set asks about law",
    "long-context": "no set asks models with long prompts",
    "uncensored": "what a model refuses is no skill",
}
"""Tasks that no test of the table measures, and why."""

_GENERATORS: frozenset[Kind] = frozenset({"instruct", "reasoning"})
_RANKED: Mapping[Task, frozenset[Kind]] = {
    "completion": frozenset({"base"}),
    "embedding": frozenset({"embedding"}),
    "rerank": frozenset({"reranker"}),
}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a test of the registry's sets measures.

    Attributes:
        name: as `ScoreSet.benchmark`.
        tasks: at which it shows skill.
        questions: what tests are called that ask the same, or parts of the same: a party's sets of one such name count
            as one test.
        language: in which it is held, where it stands for that language; ISO 639-1.
        none: why it shows skill at no task.
        items: of the test, where the set does not say it.
        items_source: who says it.
        chance: the share that guessing gets, where values count from there.
    """

    name: str
    tasks: tuple[Task, ...]
    questions: str
    language: str | None = None
    none: str | None = None
    items: int | None = None
    items_source: str | None = None
    chance: float = 0.0


def ranked_kinds(task: Task) -> frozenset[Kind]:
    """Kinds of models that a task's ranking compares; base models and instruct models never stand in one."""
    return _RANKED.get(task, _GENERATORS)


def sets_of(task: Task, sets: Iterable[ScoreSet], language: str | None = None) -> Iterator[tuple[Benchmark, ScoreSet]]:
    """Sets that show skill at a task, in one order whatever theirs.

    Args:
        language: only sets that stand for this one.
    """
    known = benchmarks()
    for each in sorted(sets, key=_order):
        found = known.get(each.benchmark)
        if found is not None and task in found.tasks and language in (None, found.language):
            yield found, each


def _order(each: ScoreSet) -> tuple[str, ...]:
    return (each.run_by, each.benchmark, each.variant or "", each.date or "", each.source)


@cache
def benchmarks() -> Mapping[str, Benchmark]:
    """The table, by the tests' names."""
    text = resources.files("compiler.choose.grades").joinpath("benchmarks.json").read_text(encoding="utf-8")
    return {row["benchmark"]: _benchmark(**row) for row in json.loads(text)}


def _benchmark(benchmark: str, tasks: list[Task], questions: str | None = None, **more: object) -> Benchmark:
    return Benchmark(benchmark, tuple(tasks), questions or benchmark, **more)  # type: ignore[arg-type]


def languages_of(task: Task) -> tuple[str, ...]:
    """Languages for which a task's tests stand, each graded on its own too."""
    return tuple(sorted({each.language for each in benchmarks().values() if each.language and task in each.tasks}))
