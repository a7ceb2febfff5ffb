"""A user's own models, from the `models` of a file `models.yaml`: rows of the same form as those that ship.

A row may say only what differs: of a model that ships, all else is as it ships; of a fine-tune, as of its base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compiler.diagnostics import Diagnostic, Help, Label, SourceText
from compiler.registry.entry import ModelEntry
from compiler.registry.quantities import written_quantities
from compiler.registry.read import licenses, shipped_sets
from compiler.registry.scores import ScoreSet
from compiler.registry.user_row import UserRow, row_problems, unknown_key, unknown_license
from compiler.registry.user_scores import own_sets
from compiler.source.document import MAX_BYTES, Document, load_document
from compiler.source.files import TooLargeError
from compiler.source.text import read_source
from compiler.source.user_file import USER_KEYS

MOST_ROWS = 1000

# What a fine-tune has of its base. What is its own, such as its date or its quantized repositories, it does not have.
_INHERITED = (
    "kind",
    "tasks",
    "languages",
    "parameters",
    "active_parameters",
    "license",
    "context",
    "context_note",
    "chat_template",
    "tools",
    "tool_call_parser",
    "reasoning_parser",
    "reasoning",
    "modalities",
)


@dataclass(slots=True)
class Overlay:
    """Models with what a user's files say of them (see `Registry`)."""

    models: dict[str, ModelEntry]
    own: dict[str, str] = field(default_factory=dict)
    shadowed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: dict[str, Diagnostic] = field(default_factory=dict)
    problems: tuple[Diagnostic, ...] = ()
    sets: tuple[ScoreSet, ...] = ()


def with_files(shipped: Mapping[str, ModelEntry], files: Sequence[Path]) -> Overlay:
    """Models that ship, with what a user's files say.

    Args:
        shipped: by their names.
        files: the most specific first.
    """
    overlay = Overlay(dict(shipped))
    sources: list[SourceText] = []
    for path in reversed(files):
        source, problems = _source(path)
        overlay.problems += problems
        if source is not None:
            lay_over(overlay, source)
            sources.append(source)
    for source in sources:
        _lay_scores(overlay, source)
    changed = ((name, _differing(shipped[name], overlay.models[name])) for name in overlay.own if name in shipped)
    overlay.shadowed = {name: fields for name, fields in changed if fields}
    overlay.warnings = {name: _shadowing(name, overlay.own[name], fields) for name, fields in overlay.shadowed.items()}
    overlay.problems += tuple(overlay.warnings.values())
    return overlay


def _source(path: Path) -> tuple[SourceText | None, tuple[Diagnostic, ...]]:
    name = str(path)
    try:
        source, problem = read_source(path, name, MAX_BYTES)
    except TooLargeError:
        return None, (Diagnostic("E0320", f"{name} is larger than {MAX_BYTES} bytes"),)
    except OSError as error:
        return None, (Diagnostic("E0104", f"{name} cannot be read: {error.strerror or error}"),)
    return (source, ()) if problem is None else (None, (problem,))


def lay_over(overlay: Overlay, source: SourceText) -> None:
    """What one file says, over what is known already: its rows, and what is wrong with others of them."""
    found, problems = _rows(source)
    overlay.problems += problems
    rows = {row.id: row for row in found}
    for row in (rows[name] for name in _in_order(rows) if name in rows):
        made = _entry(row, overlay.models)
        if isinstance(made, ModelEntry):
            overlay.models[row.id] = made
            overlay.own[row.id] = row.place
        else:
            overlay.problems += made


def _lay_scores(overlay: Overlay, source: SourceText) -> None:
    """The figures of a file, once all models are known. What is wrong with the file itself is said with its models."""
    document, _ = load_document(source)
    if document is None or not isinstance(document.data, dict) or "scores" not in document.data:
        return
    sets, problems = own_sets(document, shipped_sets(), overlay.models)
    overlay.sets += sets
    overlay.problems += problems


def _rows(source: SourceText) -> tuple[list[UserRow], tuple[Diagnostic, ...]]:
    """The rows of a file that have a name of their own, and what is wrong with the others and with the file."""
    document, problems = load_document(source)
    if document is None:
        return [], problems
    if not isinstance(document.data, dict):
        message = f"{source.name} must be a map with {_listed(USER_KEYS)}"
        return [], (Diagnostic("E0320", message, Label(document.value(()))),)
    problems += tuple(unknown_key(document, (), key, USER_KEYS) for key in document.data if key not in USER_KEYS)
    written = document.data.get("models") or []
    if not isinstance(written, list) or len(written) > MOST_ROWS:
        message = f"`models` of {source.name} must be a list of at most {MOST_ROWS} models"
        return [], (*problems, Diagnostic("E0320", message, Label(document.value(("models",)))))
    rows: dict[str, UserRow] = {}
    for index, data in enumerate(written):
        problem = _unnamed(document, index, data, rows)
        if problem is None:
            rows[data["id"]] = UserRow(document, index, data)
        else:
            problems += (problem,)
    return list(rows.values()), problems


def _unnamed(document: Document, index: int, data: Any, rows: Mapping[str, UserRow]) -> Diagnostic | None:
    """What is wrong with a row that cannot be told from others by its `id`."""
    label = Label(document.value(("models", index)))
    if not isinstance(data, dict) or not isinstance(data.get("id"), str):
        help_ = Help("write `- id: publisher/model`, and its facts below")
        return Diagnostic("E0320", "a model of the user's has no `id`", label, helps=(help_,))
    if data["id"] in rows:
        note = f"first described at {rows[data['id']].place}"
        return Diagnostic("E0320", f"`{data['id']}` is described twice", label, (note,))
    return None


def _in_order(rows: Mapping[str, UserRow]) -> list[str]:
    """Names of rows, bases before what is made of them; those that are made of each other as they come."""
    graph = {name: {row.base} if row.base is not None and row.base != name else set() for name, row in rows.items()}
    try:
        return [str(name) for name in TopologicalSorter(graph).static_order()]
    except CycleError:
        return list(rows)


def _entry(row: UserRow, known: Mapping[str, ModelEntry]) -> ModelEntry | tuple[Diagnostic, ...]:
    """The model that a row describes, or what is wrong with it."""
    problem = unknown_license(row)
    if problem is not None:
        return (problem,)
    given = written_quantities(row.data)
    if isinstance(given.get("license"), str):
        given["license"] = licenses()[given["license"]]
    before = _before(row, known)
    if "parameters" in given and given["parameters"] != before.get("parameters"):
        given.setdefault("active_parameters", given["parameters"])
    sources = {**before.get("sources", {}), **{key: row.place for key in row.data if key not in ("id", "sources")}}
    own_sources = row.data.get("sources")
    given["sources"] = {**sources, **own_sources} if isinstance(own_sources, dict) else own_sources or sources
    try:
        return ModelEntry.model_validate({**before, **given})
    except ValidationError as error:
        return tuple(row_problems(row, error, known))


def _before(row: UserRow, known: Mapping[str, ModelEntry]) -> dict[str, Any]:
    """What is known of a model without its row: as it ships, else as of its base."""
    if row.id in known:
        return _fields(known[row.id])
    base = known.get(row.base or "")
    if base is None:
        return {}
    fields = {key: value for key, value in _fields(base).items() if key in _INHERITED}
    return {**fields, "sources": dict.fromkeys(fields, f"as of {base.id}")}


def _fields(entry: ModelEntry) -> dict[str, Any]:
    return {key: getattr(entry, key) for key in ModelEntry.model_fields}


def _differing(shipped: ModelEntry, now: ModelEntry) -> tuple[str, ...]:
    names = (name for name in ModelEntry.model_fields if name != "sources")
    return tuple(name for name in names if getattr(shipped, name) != getattr(now, name))


def _shadowing(name: str, place: str, fields: Sequence[str]) -> Diagnostic:
    message = f"{place} says otherwise of {name} than what ships with stackc: {', '.join(fields)}"
    return Diagnostic("W0307", message, helps=(Help("what the file says holds; take the keys away to undo that"),))


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(f'`{word}`' for word in words[:-1])} or `{words[-1]}`"
