"""A user's own figures, from the `scores` of a file `models.yaml`: sets of the same form as those that ship.

Values of a set that ships are added to it; any other set stands on its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from compiler.diagnostics import Diagnostic, Help, Label
from compiler.registry.scores import ScoreSet
from compiler.source.document import Document

_KEY = ("benchmark", "variant", "run_by")
MOST_SETS = 100
# A ranking of more takes too long to work out.
_MOST_MODELS = 150
_MOST_HELPS = 3
_OWN = {"unit": "%", "independent": False, "date": None}
"""What holds of a set that says nothing of it: who measures models of theirs is a maker."""
_FORMS = {
    "date": "must be a day, a month or a year, such as 2026-11",
    "unit": "must be %, Elo, index points or points of 10",
    "values": "must be a map of models to their values: a number each, or [value, low, high]",
}


def own_sets(
    document: Document, shipped: Collection[ScoreSet], models: Mapping[str, object]
) -> tuple[tuple[ScoreSet, ...], tuple[Diagnostic, ...]]:
    """The sets of a file, and what is wrong with others of them.

    Args:
        models: of which there may be values.
    """
    written = document.data.get("scores") or []
    if not isinstance(written, list) or len(written) > MOST_SETS:
        message = f"`scores` must be a list of at most {MOST_SETS} sets"
        return (), (Diagnostic("E0320", message, Label(document.value(("scores",)))),)
    read = [_read(document, index, row, shipped, models) for index, row in enumerate(written)]
    found = tuple(each for each in read if isinstance(each, ScoreSet))
    if len({name for each in found for name in each.values}) > _MOST_MODELS:
        message = f"`scores` must have values of at most {_MOST_MODELS} models"
        return (), (Diagnostic("E0320", message, Label(document.value(("scores",)))),)
    problems = [problem for each in read if isinstance(each, tuple) for problem in each]
    return found, (*problems, *(warning for each in found for warning in _shadowing(each, shipped)))


def _read(
    document: Document, index: int, row: Any, shipped: Collection[ScoreSet], models: Mapping[str, object]
) -> ScoreSet | tuple[Diagnostic, ...]:
    where = ("scores", index)
    if not isinstance(row, dict):
        message = "a set of scores must be a map with `benchmark`, `run_by`, `date` and `values`"
        return (Diagnostic("E0320", message, Label(document.value(where))),)
    try:
        made = ScoreSet.model_validate({**_known(row, shipped), "source": _place(document, index), **row})
    except ValidationError as error:
        return tuple(dict.fromkeys(_problem(document, where, details) for details in error.errors(include_url=False)))
    return tuple(_faults(document, where, made, shipped, models)) or made


def _known(row: Mapping[str, Any], shipped: Collection[ScoreSet]) -> dict[str, Any]:
    """What a set that ships says of one with the same name, where only one of that name and date is meant."""
    asked = [name for name in (*_KEY, "date") if name in row]
    same = [each for each in shipped if all(getattr(each, name) == row[name] for name in asked)]
    if "benchmark" not in row or "run_by" not in row or len(same) != 1:
        return _OWN
    return same[0].model_dump(exclude={"values", "source"})


def _place(document: Document, index: int) -> str:
    span = document.value(("scores", index))
    return f"{span.source.name}:{span.start.line}"


def _problem(document: Document, where: tuple[str, int], details: ErrorDetails) -> Diagnostic:
    path: tuple[Any, ...] = (*where, *details["loc"])
    while path not in document.places and len(path) > len(where):
        path = path[:-1]
    field = str(details["loc"][0]) if details["loc"] else ""
    if details["type"] == "missing":
        message = f"a set of scores has no `{field}`"
    elif details["type"] == "extra_forbidden":
        message = f"a set of scores has no key `{field[:64]}`: it has {', '.join(ScoreSet.model_fields)}"
    elif field:
        message = f"`{field}` of a set of scores {_FORMS.get(field, 'is not what it can be: ' + details['msg'][:200])}"
    else:
        message = f"a set of scores {details['msg'].removeprefix('Value error, ')[:400]}"
    return Diagnostic("E0320", message, Label(document.value(path)))


def _faults(
    document: Document,
    where: tuple[str, int],
    made: ScoreSet,
    shipped: Collection[ScoreSet],
    models: Mapping[str, object],
) -> Iterator[Diagnostic]:
    """What a set says that would grade nothing, or nobody."""
    tests = {each.benchmark for each in shipped}
    if made.benchmark not in tests:
        yield _unknown(document, (*where, "benchmark"), f"no test is called `{made.benchmark}`", made.benchmark, tests)
    if made.date is None:
        message = f"the set of `{made.benchmark}` has no `date`, and undated figures grade nothing"
        helps = tuple(map(_meant, _of_party(made, shipped)))[:_MOST_HELPS]
        yield Diagnostic("E0320", message, Label(document.value(where)), helps=helps)
    for name in made.values:
        if name not in models:
            message = f"`{name}` has a figure, and is no model of the registry or of `models`"
            yield _unknown(document, (*where, "values", name), message, name, models)


def _of_party(made: ScoreSet, shipped: Iterable[ScoreSet]) -> Iterator[ScoreSet]:
    """Sets that ship of the same test by the same party, one of which may be meant."""
    return (each for each in shipped if each.run_by == made.run_by and each.benchmark == made.benchmark)


def _meant(each: ScoreSet) -> Help:
    variant = "no `variant`" if each.variant is None else f"`variant: {each.variant}`"
    return Help(f"to add to the set that ships, give it {variant} and `date: {each.date}`")


def _shadowing(own: ScoreSet, shipped: Iterable[ScoreSet]) -> Iterator[Diagnostic]:
    """What a user's set says otherwise than the same set that ships."""
    for each in (each for each in shipped if each.key == own.key):
        other = [name for name, score in own.values.items() if each.values.get(name, score) != score]
        if other:
            message = f"{own.source} says otherwise of {', '.join(other)} in {each.title} than what ships with stackc"
            yield Diagnostic(
                "W0307", message, helps=(Help("what the file says holds; take the values away to undo that"),)
            )


def _unknown(document: Document, path: tuple[Any, ...], message: str, name: str, known: Iterable[str]) -> Diagnostic:
    near = difflib.get_close_matches(name[:200], known, n=1)
    helps = (Help(f"did you mean `{near[0]}`?"),) if near else ()
    return Diagnostic("E0320", message, Label(document.value(path)), helps=helps)
