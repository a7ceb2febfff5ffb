"""JSON by strangers: bounded, free of control characters, and an object. Pure."""

from __future__ import annotations

import json
import threading
from typing import Any

from compiler.resolve.answers import MalformedError, TooLargeError, plain, without_controls
from compiler.resolve.limits import MAX_CONFIG, MAX_CONFIG_TEXT, MAX_VALUES

_MAX_DEPTH = 32
# One document at a time: while it is read, it takes many times what is kept of it.
_READING = threading.Lock()


def parse_config(content: bytes, name: str) -> dict[str, Any]:
    """An object that the lock may keep whole.

    Raises:
        MalformedError: it is something else.
        TooLargeError: it is too long.
    """
    if len(content) > MAX_CONFIG:
        note = f"it is longer than {MAX_CONFIG} bytes"
        raise TooLargeError(f"`{plain(name)}` is larger than any configuration", (note,))
    return parse_object(content, name, MAX_CONFIG_TEXT)


def parse_object(content: bytes, name: str, longest: int = MAX_CONFIG) -> dict[str, Any]:
    """A JSON object, free of control characters, with no text longer than `longest` characters.

    Raises:
        MalformedError: it is something else.
        TooLargeError: it has too many values.
    """
    try:
        with _READING:
            value = _clean(load_json(content, name), longest, 0)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"`{plain(name)}` is not valid JSON", (plain(error),)) from error
    if not isinstance(value, dict):
        raise MalformedError(f"`{plain(name)}` is not a JSON object")
    return value


def load_json(content: bytes, name: str, most: int = MAX_VALUES) -> Any:
    """Any JSON. Its values are counted before they are made: three bytes of text can take sixty of memory.

    Raises:
        TooLargeError: it has more than `most` values.
        ValueError, RecursionError: it is no JSON.
    """
    if (count := values_in(content)) > most:
        raise TooLargeError(f"`{plain(name)}` is larger than any such file", (f"it has some {count} values",))
    return json.loads(content)


def values_in(content: bytes) -> int:
    """The most values that a JSON text can have."""
    return content.count(b",") + content.count(b"[") + content.count(b"{") + 1


def _clean(value: Any, longest: int, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        if len(value) > longest:
            raise ValueError(f"it has a text of {len(value)} characters")
        return without_controls(value)
    if isinstance(value, list):
        return [_clean(item, longest, depth + 1) for item in value]
    if isinstance(value, dict):
        return {without_controls(key): _clean(item, longest, depth + 1) for key, item in value.items()}
    return value
