"""What a key may hold, in words, read from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tools.reference.markdown import code

Schema = Mapping[str, Any]
Linked = Callable[[str], str]
"""From the name of a definition to what stands for it in a sentence."""

_SIZE = "(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)"
_TOKENS = "[KM]?"
_MOST = 2147483647
"""A bound that says no more than that the number is a whole one."""


def kind_of(schema: Schema, linked: Linked) -> str:
    """What may be written, such as `a size, such as 16GiB`, or `1 to 64`."""
    if "$ref" in schema:
        return linked(schema["$ref"].rsplit("/", 1)[-1])
    if "const" in schema:
        return code(json.dumps(schema["const"]) if not isinstance(schema["const"], str) else schema["const"])
    if "enum" in schema:
        return _one_of(list(map(code, schema["enum"])))
    if "anyOf" in schema:
        return "; or ".join(dict.fromkeys(kind_of(each, linked) for each in schema["anyOf"] if not _is_null(each)))
    return _typed(schema, linked)


def _one_of(words: Sequence[str]) -> str:
    return " or ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), words[-1]])


def _is_null(schema: Schema) -> bool:
    return schema.get("type") == "null"


def _typed(schema: Schema, linked: Linked) -> str:
    match schema.get("type"):
        case "string":
            return _text(schema.get("pattern"))
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return "`true` or `false`"
        case "array":
            return f"a list of {kind_of(schema['items'], linked)}" if "items" in schema else "a list"
        case "object":
            return _mapping(schema, linked)
        case _:
            return "anything"


def _text(pattern: str | None) -> str:
    if pattern is None:
        return "text"
    if _SIZE in pattern:
        return "a size, such as `16GiB`"
    if _TOKENS in pattern:
        return "tokens, such as `16K`"
    return f"text of the form `{pattern}`"


def _number(schema: Schema) -> str:
    whole = "a whole number" if schema["type"] == "integer" else "a number"
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if most in (None, _MOST):
        return whole if least is None else f"{whole} from {least}"
    return f"{whole}, {'more than ' if 'exclusiveMinimum' in schema else ''}{least} to {most}"


def _mapping(schema: Schema, linked: Linked) -> str:
    inner = [each for each in values_of(schema) if each.get("type") != "object"]
    return f"a map of {kind_of(inner[0], linked)}" if inner else "a map"


def values_of(schema: Schema) -> Iterator[Schema]:
    """Schemas of a map's values, whatever their keys are called."""
    yield from schema.get("patternProperties", {}).values()
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"]
