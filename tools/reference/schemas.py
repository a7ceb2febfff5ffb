"""A page for each document that has a schema: a section for each map in it, a row for each key."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from compiler.schemas.documents import SCHEMAS, schema_of
from tools.reference.markdown import code, table
from tools.reference.values import Linked, Schema, kind_of, values_of

TITLES = {
    "spec": "The spec: stacks/NAME.yaml",
    "lock": "The lock: stacks/NAME.lock.yaml",
    "plan": "The plan: plan.json",
    "calibration": "A calibration",
    "models": "Own models, scores, prices and hardware: models.yaml",
}
"""What each page is called; a document without a title has no page, and the build says so."""

_BEGINNING = {
    "spec": "You write it. Everything that it does not say has the default that stands here.",
    "lock": "`stackc lock` writes it, and `stackc images --pin`. You review and commit it.",
    "plan": "`stackc compile` writes one into each generated tree. Programs may read it.",
    "calibration": "`stackc calibrate` writes it, and `engine.calibration` of a spec names it.",
    "models": "You write it, or `stackc models add` does. It stands in `stacks/` or `~/.config/stackc/`.",
}


def pages() -> dict[str, str]:
    """One for each document."""
    return {f"reference/{name}.md": _page(name) for name in SCHEMAS}


def _page(name: str) -> str:
    schema = schema_of(name)
    sections = _titled(list(_sections(schema)))

    def linked(definition: str) -> str:
        if definition not in sections:
            return kind_of(schema["$defs"][definition], linked)
        return f"[{sections[definition]}](#{anchor(sections[definition])})"

    texts = [_section(title, schema["$defs"].get(each, schema), linked) for each, title in sections.items()]
    source = f"`stackc schema {name}` prints the schema that this page is made of."
    return "\n".join((f"# {TITLES[name]}\n\n{_BEGINNING[name]} {source}\n", *texts))


def anchor(title: str) -> str:
    """Of a section, by its title."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _titled(sections: Sequence[tuple[str, str]]) -> dict[str, str]:
    """A title for each definition: its path, and where several stand at one, which of them."""
    paths = Counter(path for path, _ in sections)
    return {name: path if paths[path] == 1 else f"{path} ({name})" for path, name in sections}


_ROOT = ""
"""Stands for the document itself, which is no definition."""


def _sections(schema: Schema) -> Iterator[tuple[str, str]]:
    """Path and definition of each map with keys of its own, outer ones first, each once."""
    waiting, seen = [("the file", _ROOT)], {_ROOT}
    while waiting:
        path, name = waiting.pop(0)
        yield path, name
        outer = "" if name == _ROOT else f"{path}."
        for key, value in schema["$defs"].get(name, schema).get("properties", {}).items():
            for inner in _references(f"{outer}{key}", value):
                if inner[1] not in seen and "properties" in schema["$defs"][inner[1]]:
                    seen.add(inner[1])
                    waiting.append(inner)


def _references(path: str, schema: Schema) -> Iterator[tuple[str, str]]:
    """Definitions that a value refers to, by the path at which it holds them."""
    if "$ref" in schema:
        yield path, schema["$ref"].rsplit("/", 1)[-1]
    for each in schema.get("anyOf", ()):
        yield from _references(path, each)
    for each in values_of(schema):
        yield from _references(f"{path}.NAME", each)
    if isinstance(schema.get("items"), dict):
        yield from _references(f"{path}[]", schema["items"])


def _section(title: str, schema: Schema, linked: Linked) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (code(key), value.get("description", ""), kind_of(value, linked), _default(value, is_required=key in required))
        for key, value in schema.get("properties", {}).items()
    ]
    head = f"## {title} {{ #{anchor(title)} }}\n\n{schema.get('description', '')}\n"
    return f"{head}\n{table(('key', 'what it says', 'value', 'default'), rows)}"


def _default(schema: Schema, *, is_required: bool) -> str:
    if is_required:
        return "required"
    value = schema.get("default")
    if value in (None, [], {}) or isinstance(value, dict):
        return ""
    return code(value if isinstance(value, str) else json.dumps(value))
