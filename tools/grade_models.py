"""Write the grades of the models that ship: `python -m tools.grade_models`, after scores, models or tests have changed.

Offline, and in about a minute. With the same registry the same bytes come out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from compiler.choose.grades.benchmarks import benchmarks, languages_of, sets_of
from compiler.choose.grades.bounds import straying
from compiler.choose.grades.comparisons import as_tests
from compiler.choose.grades.pools import ranked_models
from compiler.choose.grades.ranking import compared_sets, rank
from compiler.choose.grades.shipped import FILE, written
from compiler.registry.entry import TASKS, Task
from compiler.registry.read import Registry, registry

OUTPUT = Path(__file__).resolve().parent.parent / "compiler/choose/grades" / FILE


def rankings() -> Iterator[tuple[str, Task, str | None]]:
    """What there are rankings of: tasks, and tasks in one language."""
    yield from ((task, task, None) for task in TASKS)
    yield from ((f"{task}, {language}", task, language) for task in TASKS for language in languages_of(task))


def inputs(known: Registry) -> str:
    """A digest of all that the grades are worked out of."""
    kinds = {name: entry.kind for name, entry in known.models.items()}
    tests = {name: repr(each) for name, each in benchmarks().items()}
    sets = [each.model_dump(mode="json") for each in known.sets]
    return hashlib.sha256(json.dumps([kinds, tests, sets], sort_keys=True).encode()).hexdigest()


def main() -> None:
    """Work all of them out anew, and tell how far tests stray."""
    known = registry()
    found = {key: rank(task, known.models, known.sets, language) for key, task, language in rankings()}
    OUTPUT.write_text(written(found, inputs(known)), encoding="utf-8")
    print("| task | models | tests | a test strays |\n| --- | --- | --- | --- |")
    for task in TASKS:
        tests = as_tests(compared_sets(task, known.models, tuple(sets_of(task, known.sets))))
        ranked = ranked_models(tests)
        strays = straying(tests, dict.fromkeys(ranked, 0.0))
        if strays is not None:
            joined = sum(not test.models.isdisjoint(ranked) for test in tests)
            print(f"| {task} | {len(ranked)} | {joined} | {strays:.2f} |")


if __name__ == "__main__":
    main()
