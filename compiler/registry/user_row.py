"""A row of a user's file, and what is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from compiler.diagnostics import Diagnostic, Help, Label
from compiler.registry.entry import License, ModelEntry, Quantized, Recipe
from compiler.registry.read import licenses, nearest_models
from compiler.source.document import Document
from compiler.spec.reading.wrong_values import value_words

_MISSING, _UNKNOWN = "missing", "extra_forbidden"
# Patterns, as people read them; where a list is meant, one word may have been written without its brackets.
_FORMS = {
    "released": "must be a day, a month or a year, such as 2026-11-09",
    "link": "must be an address that begins with https://",
    "languages": "must be codes of two or three letters, such as de",
    "path": "must be publisher/name, as in vLLM's recipes",
    "release": "must be three numbers, such as 0.33.0, or nightly",
}
_PATTERN = "string_pattern_mismatch"
_ACTIVE = "active_parameters"
_NUMBERS = {
    "context": "must be a number of tokens, such as 32K",
    "parameters": "must be a number of parameters, such as 7.6B",
    "active_parameters": "must be a number of parameters, such as 3B",
}


@dataclass(frozen=True, slots=True)
class UserRow:
    """One entry of `models`, as it is written.

    Attributes:
        index: of it in the list.
        data: with an `id` that is text.
    """

    document: Document
    index: int
    data: dict[str, Any]

    @property
    def id(self) -> str:
        """Of the model."""
        return str(self.data["id"])

    @property
    def base(self) -> str | None:
        """Of which it is a fine-tune."""
        base = self.data.get("base_model")
        return base if isinstance(base, str) else None

    @property
    def place(self) -> str:
        """File and line of its `id`."""
        span = self.document.key(("models", self.index, "id"))
        return f"{span.source.name}:{span.start.line}"

    def label(self, *path: str | int) -> Label:
        """Where a value of it stands, or the row where it has none."""
        document, where = self.document, ("models", self.index, *path)
        return Label(document.value(where) if where in document.places else document.value(("models", self.index)))


def row_problems(row: UserRow, error: ValidationError, known: Mapping[str, ModelEntry]) -> Iterator[Diagnostic]:
    """What is wrong with a row: each wrong value once, and what lacks together.

    Args:
        known: models that may be its base.
    """
    # Where a row names no active parameters, they are what its parameters are.
    told = [each for each in error.errors(include_url=False) if each["loc"][:1] != (_ACTIVE,) or _ACTIVE in row.data]
    details = told or error.errors(include_url=False)
    yield from dict.fromkeys(_problem(row, each) for each in details if not _lacks(each))
    lacking = [str(each["loc"][0]) for each in details if _lacks(each)]
    if lacking:
        yield _lacking(row, lacking, known)


def _lacks(details: ErrorDetails) -> bool:
    return details["type"] == _MISSING and len(details["loc"]) == 1


def _lacking(row: UserRow, names: Sequence[str], known: Mapping[str, ModelEntry]) -> Diagnostic:
    *others, last = (f"`{name}`" for name in names)
    listed = f"{', '.join(others)} and {last}" if others else last
    told = f"`{row.id[:200]}` has no {listed}"
    if row.base is None:
        help_ = Help("name its `base_model`, or have `stackc models add` read it from the Hub or a config.json")
        return Diagnostic("E0320", told, row.label("id"), helps=(help_,))
    near = nearest_models(known.values(), row.base)
    helps = tuple(Help(f"did you mean `{name}`?") for name in near if name != row.id)
    message = f"{told}, and of its base `{row.base[:200]}` nothing is known"
    return Diagnostic("E0320", message, row.label("base_model"), helps=helps)


def _problem(row: UserRow, details: ErrorDetails) -> Diagnostic:
    path = tuple(part for part in details["loc"] if part != "[key]")
    name = ".".join(map(str, path))
    if details["type"] == _UNKNOWN:
        return unknown_key(row.document, ("models", row.index, *path[:-1]), str(path[-1]), _keys_at(path[:-1]))
    label = row.label(*_written(row.data, path))
    if details["type"] == _MISSING:
        return Diagnostic("E0320", f"`{row.id}`: `{name}` is missing", label)
    if not path:
        return Diagnostic("E0320", f"`{row.id}` {details['msg'].removeprefix('Value error, ')}", label)
    return Diagnostic("E0320", f"`{row.id[:200]}`: `{name}` {_words(path, details)}", label)


def _words(path: tuple[int | str, ...], details: ErrorDetails) -> str:
    form = next((_FORMS[str(part)] for part in reversed(path) if part in _FORMS), None)
    if details["type"] == _PATTERN and form is not None:
        return form
    if details["type"].startswith("int_") and path[0] in _NUMBERS:
        return _NUMBERS[str(path[0])]
    return value_words(details)


def _keys_at(path: tuple[int | str, ...]) -> Sequence[str]:
    """Keys of the record that a path of an entry leads to."""
    records: dict[str, type] = {"license": License, "quantized": Quantized, "recipe": Recipe}
    record = records.get(str(path[0])) if path else ModelEntry
    return tuple(getattr(record, "model_fields", ()))


def _written(data: Any, path: tuple[int | str, ...]) -> Iterator[str | int]:
    """The part of a path that the row has."""
    for part in path:
        is_there = part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))
        if not is_there:
            return
        yield part
        data = data[part]


def unknown_license(row: UserRow) -> Diagnostic | None:
    """What is wrong with a licence that is named and not described; None where it is known."""
    given = row.data.get("license")
    if not isinstance(given, str) or given in licenses():
        return None
    near = difflib.get_close_matches(given[:80].lower(), licenses(), n=1)
    keys = ", ".join(License.model_fields)
    describe = Help(f"describe it: `license: {{tag: …, name: …, commercial: …}}`, of {keys}")
    helps = (Help(f"did you mean `{near[0]}`?"), describe) if near else (describe,)
    return Diagnostic("E0320", f"`{row.id}`: no licence is known as `{given[:80]}`", row.label("license"), helps=helps)


def unknown_key(document: Document, path: tuple[str | int, ...], key: str, known: Sequence[str]) -> Diagnostic:
    """A key that is none of those that are known at a place."""
    near = difflib.get_close_matches(key[:80], known, n=1)
    helps = (Help(f"did you mean `{near[0]}`?"),) if near else ()
    where = Label(document.key((*path, key)))
    return Diagnostic("E0320", f"unknown key `{key[:80]}`", where, (f"known keys here: {', '.join(known)}",), helps)
