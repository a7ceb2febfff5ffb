"""JSON by strangers: bounded, free of control characters, and an object. Pure."""

from __future__ import annotations

import json
from typing import Any

from compiler.resolve.answers import MalformedError, plain, without_controls
from compiler.resolve.limits import MAX_CONFIG

_MAX_DEPTH = 32


def parse_config(content: bytes, name: str) -> dict[str, Any]:
    """An object that the lock may keep whole.

    Raises:
        MalformedError: it is something else, or too long.
    """
    if len(content) > MAX_CONFIG:
        raise MalformedError(f"`{plain(name)}` is longer than {MAX_CONFIG} bytes, and no configuration")
    return parse_object(content, name)


def parse_object(content: bytes, name: str) -> dict[str, Any]:
    """A JSON object, free of control characters.

    Raises:
        MalformedError: it is something else.
    """
    try:
        value = _clean(json.loads(content), 0)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"`{plain(name)}` is not valid JSON", (plain(error),)) from error
    if not isinstance(value, dict):
        raise MalformedError(f"`{plain(name)}` is not a JSON object")
    return value


def _clean(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        return without_controls(value)
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {without_controls(key): _clean(item, depth + 1) for key, item in value.items()}
    return value
