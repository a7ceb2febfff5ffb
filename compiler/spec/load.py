"""YAML document → Spec. Pydantic finds what is wrong; the words and the places are ours."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from compiler.diagnostics import Diagnostic, Edit, Help, Label, SourceText
from compiler.source.document import Document, Path, load_document
from compiler.spec.models import Spec
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


def load_spec(source: SourceText) -> tuple[SpecFile | None, tuple[Diagnostic, ...]]:
    """Read a spec; every problem of syntax, keys, types and units comes back, each with its place."""
    document, problems = load_document(source)
    if document is None:
        return None, problems
    try:
        return SpecFile(Spec.model_validate(document.data), document), ()
    except ValidationError as error:
        # One number stands for both ends of a range, and is wrong once.
        return None, tuple(dict.fromkeys(_diagnostic(document, details) for details in error.errors()))


def _diagnostic(document: Document, details: ErrorDetails) -> Diagnostic:
    path: Path = tuple(part for part in details["loc"] if part != "[key]")
    known = _fields_at(path[:-1])
    path = written_path(document.data, path)
    if details["type"] == "extra_forbidden":
        return _unknown_key(document, path, known)
    if details["type"] == "missing":
        return _missing_key(document, path)
    path = _written(document, path)
    if details["type"] == "unit":
        return _unit(document, path, details.get("ctx", {}))
    return _wrong_value(document, path, details)


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


def _unknown_key(document: Document, path: Path, fields: set[str]) -> Diagnostic:
    name, known = str(path[-1]), sorted(fields)
    nearest = difflib.get_close_matches(name, known, n=1)
    helps = tuple(Help(f"did you mean `{match}`?", _renaming(document, path, match)) for match in nearest)
    note = f"known keys here: {', '.join(known)}"
    return Diagnostic("E0201", f"unknown key `{name}`", Label(document.key(path)), (note,), helps)


def _renaming(document: Document, path: Path, name: str) -> tuple[Edit, ...]:
    value = document.data
    for part in path:
        value = value[part]
    # Edits carry scalars only; a whole block is left to the user.
    return (Edit(path, None), Edit((*path[:-1], name), value)) if isinstance(value, str | int) else ()


def _missing_key(document: Document, path: Path) -> Diagnostic:
    where = f"`{path[-2]}`" if len(path) > 1 else "the spec"
    example = EXAMPLES.get(str(path[-1]))
    helps = (Help(f"add `{path[-1]}: {example}`"),) if example else ()
    return Diagnostic("E0202", f"{where} has no `{path[-1]}`", Label(document.key(path[:-1])), helps=helps)


EXAMPLES = {
    "context": "16K",
    "engine": "{vllm: 0.33.0}",
    "memory": "24GiB",
    "model": "Qwen/Qwen2.5-7B-Instruct",
    "nodes": "{gpu01: {gpus: {model: rtx-pro-6000}}}",
    "port": "8000",
    "services": "{chat: {model: Qwen/Qwen2.5-7B-Instruct, context: 16K, port: 8000}}",
    "stack": "my-stack",
    "vllm": "0.33.0",
}


def _unit(document: Document, path: Path, context: Mapping[str, Any]) -> Diagnostic:
    remedy = context.get("remedy")
    helps = (Help(f"write `{remedy}`", (Edit(path, remedy),)),) if remedy else ()
    return Diagnostic("E0204", str(context["message"]), Label(document.value(path)), helps=helps)


_WORDS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "dict_type": "must be a map of keys to values",
    "model_type": "must be a map of keys to values",
    "tuple_type": "must be a list",
    "none_required": "must be empty",
}


def _wrong_value(document: Document, path: Path, details: ErrorDetails) -> Diagnostic:
    context = details.get("ctx", {})
    kind = details["type"]
    if kind == "literal_error":
        words = f"must be one of {context['expected']}"
    elif kind == "string_pattern_mismatch":
        words = f"must match {context['pattern']}"
    elif kind in ("greater_than_equal", "less_than_equal"):
        words = f"must be at {'least' if 'ge' in context else 'most'} {context.get('ge', context.get('le'))}"
    elif kind == "too_short":
        words = "must not be empty"
    else:
        words = _WORDS.get(kind, details["msg"][:1].lower() + details["msg"][1:])
    name = next((part for part in reversed(path) if isinstance(part, str)), "spec")
    given = _shown(details["input"])
    label = Label(document.value(path) if not _is_key_error(details) else document.key(path))
    return Diagnostic("E0203", f"`{name}` {words}", label, (f"given: {given}",) if given else ())


def _is_key_error(details: ErrorDetails) -> bool:
    return "[key]" in details["loc"]


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float | bool) else ""


def _fields_at(path: Path) -> set[str]:
    """Names of the fields that the model at `path` has, following maps and optional models."""
    model: type[BaseModel] | None = Spec
    for part in path:
        if model is not None and str(part) in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            model = _inner_model(annotation)
    return set(model.model_fields) if model is not None else set()


def _inner_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner_model(part)) is not None), None)
