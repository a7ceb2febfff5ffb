"""YAML document → Spec. Pydantic finds what is wrong; the words and the places are ours."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from compiler.diagnostics import Diagnostic, Edit, Help, Label, SourceText
from compiler.source.document import Document, Path, load_document
from compiler.spec.models import Spec
from compiler.spec.reading.engine_advice import Advisors, Foreign, adviser_of, release_of
from compiler.spec.reading.foreign_keys import foreign_key
from compiler.spec.reading.wrong_values import wrong_value
from compiler.spec.rollouts import written_path


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A spec and the document it was read from."""

    spec: Spec
    document: Document

    def at(self, *path: str | int, text: str = "") -> Label:
        """A label on the value at `path`, or on its nearest parent."""
        return Label(self.document.value(written_path(self.document.data, path)), text)

    def at_key(self, *path: str | int, text: str = "") -> Label:
        """A label on the key at `path`, or on its nearest parent."""
        return Label(self.document.key(written_path(self.document.data, path)), text)


def load_spec(source: SourceText, engines: Advisors) -> tuple[SpecFile | None, tuple[Diagnostic, ...]]:
    """Read a spec; every problem of syntax, keys, types and units comes back, each with its place.

    Args:
        source: the file's text.
        engines: those that there are, at least one, by the key of `engine`: each says what to write in place of words
            that it does not have.
    """
    document, problems = load_document(source)
    if document is None:
        return None, problems
    try:
        return SpecFile(Spec.model_validate(document.data, context=engines), document), ()
    except ValidationError as error:
        # One number stands for both ends of a range, and is wrong once.
        return None, tuple(dict.fromkeys(_findings(_Read(document, engines), error.errors())))


@dataclass(frozen=True, slots=True)
class _Read:
    """A document that is no spec, and whom to ask about it."""

    document: Document
    engines: Advisors


def _findings(read: _Read, errors: Sequence[ErrorDetails]) -> Iterator[Diagnostic]:
    """Each fault once: not also what follows of it."""
    said = {document_path(details) for details in errors}
    meant = set(filter(None, (_meant(read, details) for details in errors)))
    for details in errors:
        path = document_path(details)
        # pydantic counts what is left of a list without the entries that are wrong, which are told themselves.
        is_left_over = details["type"] == "too_short" and any(path == other[: len(path)] != other for other in said)
        # A key under another name is not missing beside it.
        if not is_left_over and not (details["type"] == "missing" and path in meant):
            yield _diagnostic(read, details)


def document_path(details: ErrorDetails) -> Path:
    """Where pydantic found something, as a path of the document."""
    return tuple(part for part in details["loc"] if part != "[key]")


def _meant(read: _Read, details: ErrorDetails) -> Path | None:
    """The path of the key that an unknown one stands for."""
    if details["type"] != "extra_forbidden":
        return None
    path = document_path(details)
    foreign, nearest = _known_as(read, path)
    key = foreign.key if foreign is not None else nearest
    return None if key is None else (*path[:-1], key)


def _known_as(read: _Read, path: Path) -> tuple[Foreign | None, str | None]:
    """What other tools mean by an unknown key, else the known one that is spelled nearly so."""
    record = _record_at(path[:-1])
    if record is None:
        return None, None
    data = read.document.data
    name, engine = adviser_of(data, path, read.engines)
    foreign = foreign_key(record, str(path[-1]), engine, release_of(data, name))
    nearest = difflib.get_close_matches(str(path[-1]), keys_of(record), n=1)
    return foreign, next(iter(nearest), None)


def keys_of(record: type[BaseModel]) -> list[str]:
    """Keys that a record has in a file, sorted."""
    return sorted(field.alias or name for name, field in record.model_fields.items())


def _diagnostic(read: _Read, details: ErrorDetails) -> Diagnostic:
    document, found = read.document, document_path(details)
    path = written_path(document.data, found)
    if details["type"] == "extra_forbidden":
        return _unknown_key(read, path, found)
    if details["type"] == "missing":
        return _missing_key(document, path)
    path = _written(document, path)
    if details["type"] == "no_engine":
        return _no_engine(document, path)
    if details["type"] == "unit":
        return _unit(document, path, details.get("ctx", {}))
    return wrong_value(document, path, details, read.engines)


def _written(document: Document, path: Path) -> Path:
    """The part of a path that the file has: a plain number is read as a range whose ends it does not name."""
    value = document.data
    for index, part in enumerate(path):
        # Only these have parts: a text's letters are none, though Python counts them too.
        is_there = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
        if not is_there:
            return path[:index]
        value = value[part]
    return path


def _unknown_key(read: _Read, path: Path, found: Path) -> Diagnostic:
    document, name = read.document, str(path[-1])
    foreign, nearest = _known_as(read, found)
    message, label = f"unknown key `{name}`", Label(document.key(path))
    if foreign is not None:
        notes, helps = _of_other_tool(read, path, foreign)
        return Diagnostic("E0201", message, label, notes, helps)
    helps = (Help(f"did you mean `{nearest}`?", _renaming(document, path, nearest)),) if nearest else ()
    record = _record_at(found[:-1])
    known = keys_of(record) if record is not None else []
    return Diagnostic("E0201", message, label, (f"known keys here: {', '.join(known)}",), helps)


def _of_other_tool(read: _Read, path: Path, foreign: Foreign) -> tuple[tuple[str, ...], tuple[Help, ...]]:
    document, name, parent = read.document, str(path[-1]), _at(read.document, path[:-1])
    if foreign.inside is not None:
        value = parent[name]
        moved = (Edit(path, None), Edit((*path[:-1], foreign.inside, name), value))
        help_ = Help(f"write it in `{foreign.inside}`", moved if isinstance(value, str | int | float) else ())
        return (foreign.why,), (help_,)
    if foreign.key is None:
        return (foreign.why,), (Help(f"remove `{name}`", (Edit(path, None),)),)
    if foreign.key in parent:
        return (f"`{foreign.key}` says it: {foreign.why}",), (Help(f"remove `{name}`", (Edit(path, None),)),)
    edits = _renaming(document, path, foreign.key)
    edits = edits if edits and _is_taken(read, path, foreign.key) else ()
    return (), (Help(f"write `{foreign.key}`: {foreign.why}", edits),)


def _is_taken(read: _Read, path: Path, key: str) -> bool:
    """Whether the key that is meant takes the value as it is."""
    data = copy.deepcopy(read.document.data)
    parent = data
    for part in path[:-1]:
        parent = parent[part]
    parent[key] = parent.pop(path[-1])
    try:
        Spec.model_validate(data, context=read.engines)
    except ValidationError as error:
        wanted = (*path[:-1], key)
        return all(document_path(details)[: len(wanted)] != wanted for details in error.errors())
    return True


def _at(document: Document, path: Path) -> Any:
    value = document.data
    for part in path:
        value = value[part]
    return value


def _renaming(document: Document, path: Path, name: str) -> tuple[Edit, ...]:
    value = _at(document, path)
    # Edits carry scalars only; a whole block is left to the user.
    return (Edit(path, None), Edit((*path[:-1], name), value)) if isinstance(value, str | int) else ()


def _missing_key(document: Document, path: Path) -> Diagnostic:
    where = f"`{path[-2]}`" if len(path) > 1 else "the spec"
    example = EXAMPLES.get(str(path[-1])) if path[-1] != "port" else str(_free_port(document))
    helps = (Help(f"add `{path[-1]}: {example}`"),) if example else ()
    return Diagnostic("E0202", f"{where} has no `{path[-1]}`", Label(document.key(path[:-1])), helps=helps)


def _no_engine(document: Document, path: Path) -> Diagnostic:
    helps = (Help(f"add `vllm: {EXAMPLES['vllm']}`"),)
    return Diagnostic("E0202", "`engine` has no `vllm`", Label(document.key(path)), helps=helps)


def _free_port(document: Document) -> int:
    """Past the ports of what is there; the whole spec is not read yet, so anything may stand in it."""
    services = document.data["services"].values()
    spans = [(each.get("port"), each.get("replicas")) for each in services if isinstance(each, dict)]
    gateway = document.data.get("gateway")
    spans.append((gateway.get("port") if isinstance(gateway, dict) else None, None))
    last = [port + (count if type(count) is int else 1) - 1 for port, count in spans if type(port) is int]
    used = [port for port in last if port in _USUAL_PORTS]
    return max(used) // 10 * 10 + 10 if used else _USUAL_PORTS.start


_USUAL_PORTS = range(8000, 9000)

EXAMPLES = {
    "context": "16K",
    "engine": "{vllm: 0.33.0}",
    "memory": "24GiB",
    "model": "Qwen/Qwen2.5-7B-Instruct",
    "nodes": "{NAME: {gpus: {model: CARD}}}`, with a CARD of `stackc gpus",
    "release": "b10434",
    "services": "{chat: {model: Qwen/Qwen2.5-7B-Instruct, context: 16K, port: 8000}}",
    "stack": "my-stack",
    "vllm": "0.33.0",
}


def _unit(document: Document, path: Path, context: Mapping[str, Any]) -> Diagnostic:
    remedy = context.get("remedy")
    helps = (Help(f"write `{remedy}`", (Edit(path, remedy),)),) if remedy else ()
    return Diagnostic("E0204", str(context["message"]), Label(document.value(path)), helps=helps)


def _record_at(path: Path) -> type[BaseModel] | None:
    """The record at `path`, following maps and optional records."""
    model: type[BaseModel] | None = Spec
    for part in path:
        fields = {field.alias or name: field for name, field in model.model_fields.items()} if model is not None else {}
        if (field := fields.get(str(part))) is not None:
            model = _inner_model(field.annotation)
    return model


def _inner_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner_model(part)) is not None), None)
