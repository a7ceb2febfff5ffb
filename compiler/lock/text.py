"""The lock's own corner of YAML: one fact a line, every collection either a block or JSON on one line.

Any YAML parser reads it. Its regularity also lets `parse` read it an order of magnitude faster than ruamel.yaml's
Python parser does, which matters because every `stackc compile` reads every lock.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# A mapping stays on one line up to this width.
WIDTH = 110
# Services, models and their maps of facts are blocks however short they are.
_FLOW_INDENT = 4

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./+@-]*(?::[A-Za-z0-9_./+@-]+)*", re.ASCII)
# Words that some YAML version reads as something other than a string.
_RESERVED = frozenset({"false", "n", "no", "null", "off", "on", "true", "y", "yes"})
# Characters that JSON leaves as they are and YAML wants escaped.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_LINE = re.compile(r'(?P<indent> *)(?:- (?P<item>.+)|(?P<key>"(?:[^"\\]|\\.)*"|[^"\s:][^\s]*?):(?: (?P<value>.+))?)')


_quoted = json.JSONEncoder(ensure_ascii=False).encode


class UnusualError(ValueError):
    """The text is not in the form that `format_document` writes; it may still be good YAML."""


def format_document(data: Mapping[str, Any]) -> str:
    """Write a mapping as text. Keys keep the order that `data` gives them."""
    return "".join(f"{line}\n" for line in _block(data, ""))


def _block(data: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in data.items():
        head = f"{indent}{_scalar(key)}:"
        if _is_records(value):
            lines += [head, *(f"{indent}  - {_flow(item)}" for item in value)]
        elif isinstance(value, Mapping) and value and not _fits(indent, head, value):
            lines += [head, *_block(value, indent + "  ")]
        else:
            lines.append(f"{head} {_scalar(value)}")
    return lines


def _is_records(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(item, Mapping) for item in value)
    )


def _fits(indent: str, head: str, value: Mapping[str, Any]) -> bool:
    nested = any((isinstance(item, Mapping) and item) or _is_records(item) for item in value.values())
    return len(indent) >= _FLOW_INDENT and not nested and len(head) + len(_flow(value)) < WIDTH


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return _flow(value)


def _flow(value: object) -> str:
    if isinstance(value, str):
        text = _quoted(value)
        # Nearly every text is ASCII; asking for that is quicker than a search.
        return text if text.isascii() and "\x7f" not in text else _UNPRINTABLE.sub(_escaped, text)
    if type(value) is int:
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join([f"{_flow(str(key))}: {_flow(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join([_flow(item) for item in value]) + "]"
    return _float(value) if isinstance(value, float) else _quoted(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")  # without a dot, YAML 1.1 reads it as a string


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def parse(text: str) -> dict[str, Any]:
    """Read what `format_document` writes.

    Raises:
        UnusualError: the text was written or edited by something else.
    """
    root: dict[str, Any] = {}
    open_blocks: list[dict[str, Any] | list[Any]] = [root]
    pending: str | None = None  # a key whose block starts on the next line
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None or len(match["indent"]) % 2:
            raise UnusualError(line)
        depth = len(match["indent"]) // 2
        if pending is not None and depth == len(open_blocks):
            open_blocks.append(_start_block(open_blocks[-1], pending, is_list=match["item"] is not None))
        elif depth >= len(open_blocks):
            raise UnusualError(line)
        del open_blocks[depth + 1 :]
        pending = _add(open_blocks[-1], match)
    return root


def parse_json(text: str) -> Any:
    """Read JSON, which is YAML too.

    Raises:
        UnusualError: it is none.
    """
    try:
        return _decode(text)
    except ValueError as error:
        raise UnusualError(str(error)) from error


def _start_block(parent: dict[str, Any] | list[Any], key: str, *, is_list: bool) -> dict[str, Any] | list[Any]:
    block: dict[str, Any] | list[Any] = [] if is_list else {}
    if isinstance(parent, dict):  # only a mapping has a pending key
        parent[key] = block
    return block


def _add(block: dict[str, Any] | list[Any], match: re.Match[str]) -> str | None:
    if match["item"] is not None:
        if not isinstance(block, list):
            raise UnusualError(match[0])
        block.append(_value(match["item"]))
        return None
    if not isinstance(block, dict):
        raise UnusualError(match[0])
    key = _value(match["key"])
    if not isinstance(key, str) or key in block:
        raise UnusualError(match[0])
    block[key] = None if match["value"] is None else _value(match["value"])
    return key if match["value"] is None else None


def _value(text: str) -> Any:
    if text[0] in '"[{-0123456789' or text in ("true", "false", "null"):
        try:
            return _decode(text)
        except ValueError as error:
            raise UnusualError(text) from error
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    raise UnusualError(text)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise UnusualError("a key is repeated")
    return record


def _refuse(word: str) -> object:
    raise UnusualError(word)


_decode = json.JSONDecoder(object_pairs_hook=_without_repetition, parse_constant=_refuse).decode
