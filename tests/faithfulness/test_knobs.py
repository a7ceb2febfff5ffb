"""No field of the plan is lost on the way to an artifact, and none leaks into one that does not need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from compiler.plan.ir import Plan
from tests.faithfulness.knobs import KNOBS, Knob
from tests.faithfulness.readers import READERS, Texts, emitted, rendered, texts_of


def records(record: type[Any], seen: set[type[Any]]) -> set[type[Any]]:
    """A dataclass and all that its fields hold, however deep."""
    if record not in seen:
        seen.add(record)
        for inner in inner_records(record).values():
            for each in inner:
                records(each, seen)
    return seen


def inner_records(record: type[Any]) -> dict[str, list[type[Any]]]:
    """The dataclasses in the type of each field."""
    return {name: list(leaves(hint)) for name, hint in get_type_hints(record).items()}


def leaves(hint: Any) -> list[type[Any]]:
    if getattr(hint, "__module__", "").startswith(("compiler.catalog", "compiler.plan.speed")):
        return []  # what a catalogue holds is no decision of a plan, and an estimate follows from the others
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    return [leaf for part in get_args(hint) if part is not NoneType for leaf in leaves(part)]


def all_knobs() -> set[str]:
    """Every field that is not itself a record or a list of them: those are mapped field by field."""
    found = set()
    for record in records(Plan, set()):
        inner, hints = inner_records(record), get_type_hints(record)
        own = (each.name for each in fields(record) if not inner[each.name] or is_mixed(hints[each.name]))
        found |= {f"{record.__name__}.{name}" for name in own}
    return found


def is_mixed(hint: Any) -> bool:
    """Whether a type is of texts and records side by side, such as the words of a command."""
    parts, is_union = get_args(hint), get_origin(hint) in (Union, UnionType)
    return (is_union and str in parts and any(map(is_dataclass, parts))) or any(map(is_mixed, parts))


def test_every_field_of_the_plan_has_a_row() -> None:
    names = [knob.name for knob in KNOBS]
    assert len(names) == len(set(names)), "a field has two rows"
    assert set(names) == all_knobs()


def changed(value: Any, path: tuple[str | int, ...], new: object) -> Any:
    """A record in which the value at a path is another one."""
    if not path:
        return new
    first, *rest = path
    if isinstance(first, int):
        return (*value[:first], changed(value[first], tuple(rest), new), *value[first + 1 :])
    if isinstance(value, Mapping):
        return {**value, first: changed(value[first], tuple(rest), new)}
    return replace(value, **{first: changed(getattr(value, first), tuple(rest), new)})


@cache
def unchanged(sample: Callable[[], Plan]) -> Texts:
    """What is emitted for the sample itself, which many knobs have in common."""
    return rendered(sample())


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_a_field_changes_the_artifacts_that_need_it_and_no_other(knob: Knob, tmp_path: Path) -> None:
    before = unchanged(knob.sample)
    after = emitted(changed(knob.sample(), knob.path, knob.value), tmp_path, knob.shows)
    different = {kind for kind in READERS if texts_of(kind, before) != texts_of(kind, after)}
    assert different >= knob.shows.keys()
    assert different <= knob.shows.keys(), f"it should not matter there: {knob.silent}"
    for kind, places in knob.shows.items():
        read = READERS[kind][1]
        for locator, value in places.items():
            found = read(tmp_path, locator)
            assert found == value or (isinstance(found, list) and value in found), (kind, locator, found)


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_a_row_says_why_the_other_artifacts_are_silent(knob: Knob) -> None:
    assert knob.name.partition(".")[2] == knob.path[-1]
    if not READERS.keys() <= knob.shows.keys():
        assert len(knob.silent) > len("a reason")
        assert knob.silent != "all show it"
