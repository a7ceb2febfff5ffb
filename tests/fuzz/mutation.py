"""Changes to data that was right, and to the text that says it."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.fuzz.values import MARKER, nearly, odd

Place = tuple[Any, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where every value below this one stands."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in below:
        yield (*at, key)
        yield from places(child, (*at, key))


def value_at(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


def mutated(
    rng: random.Random, data: Any, donors: Sequence[Any], known: Mapping[str, Sequence[Any]], times: int = 1
) -> Any:
    """A copy of the data with so many changes of its structure."""
    changed = copy.deepcopy(data)
    for _ in range(times):
        changed = _changed(rng, changed, donors, known)
    return changed


def _changed(rng: random.Random, data: Any, donors: Sequence[Any], known: Mapping[str, Sequence[Any]]) -> Any:
    found = list(places(data))
    if not found:
        return odd(rng)
    *way, key = rng.choice(found)
    parent = value_at(data, tuple(way))
    how = rng.randrange(100)
    if how < 34:
        parent[key] = odd(rng)
    elif how < 58:
        parent[key] = nearly(rng, parent[key])
    elif how < 68:
        del parent[key]
    elif how < 80:
        parent[key] = _transplant(rng, donors)
    elif isinstance(parent, list):
        parent.extend(copy.deepcopy(parent[:8]))
    elif how < 90:
        name = rng.choice(sorted(known)) if known and rng.random() < 0.8 else str(odd(rng))[:60]
        parent[name] = copy.deepcopy(rng.choice(known[name])) if known.get(name) and rng.random() < 0.6 else odd(rng)
    elif how < 95:
        parent[str(odd(rng))[:60]] = parent.pop(key)
    else:
        parent[f"{key}{rng.choice(('2', '-b', '_', ' '))}"] = copy.deepcopy(parent[key])
    return data


def _transplant(rng: random.Random, donors: Sequence[Any]) -> Any:
    donor = rng.choice(donors)
    return copy.deepcopy(value_at(donor, rng.choice([(), *places(donor)])))


def values_by_key(items: Sequence[Any], most: int = 12) -> dict[str, list[Any]]:
    """Every key that occurs in these, with some of the values that it has."""
    found: dict[str, list[Any]] = {}
    for item in items:
        for place in places(item):
            if isinstance(place[-1], str):
                kept = found.setdefault(place[-1], [])
                if len(kept) < most:
                    kept.append(value_at(item, place))
    return found


_SNIPPETS = (
    b"&a ", b"*a", b"&a [*a, *a]", b"<<: *a", b"<<: {a: 1}",
    b"!!python/object/apply:os.system [touch " + MARKER.encode() + b"]", b"!!binary aGk=", b"!!set {a, b}",
    b"!!omap [a: 1]", b"!<tag:example.org,2000:x> ", b"!!float x", b"!!int x", b"!!null x", b"!!timestamp x",
    b"!include x", b"? ", b"? [a, b]\n: c\n", b"|\n  x\n", b">-\n  x\n", b"|9\n", b"%YAML 1.1\n---\n",
    b"%TAG ! tag:x\n---\n", b"---\n", b"...\n", b"{", b"}", b"[", b"]", b'"', b"'", b"#", b": ", b":", b"- ", b"\t",
    b"\x00", b"\x0b", b"\x1b[31m", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80", b"\xc0\xaf", b"\r", b"\r\n", b"\n\n\n", b"0x10", b"0o17", b"1_000", b"1e400", b".inf",
    b"-.inf", b".nan", b"~", b"yes", b"2001-01-01", b"12:30:45", b"=", b'"\\ud800"', b'"\\x00"', b'"\\u202e"',
    b"<<<<<<< HEAD\n", b"=======\n", b">>>>>>> theirs\n", b"7" * 5000, b"[" * 300, b"{a: " * 80, b"- " * 300,
    b"z" * 6000, b"\\", b"@", b"`", b"%", b"$(id)", b"${HOME}", b" " * 3000,
)  # fmt: skip
_NUMBER_TEXTS = (
    b"-1",
    b"0",
    b"1e400",
    b"1e5",
    b"9" * 400,
    b"null",
    b"1_0",
    b"0x1f",
    b"1.",
    b".5",
    b"-0",
    b"+1",
    b".inf",
    b".nan",
    b"true",
    b"007",
)
_ENCODINGS = ("utf-16", "utf-32", "latin-1", "utf-8-sig", "utf-7")
_LINE_ENDS = (b"\r\n", b"\r", b"\n\n", b" \n", b"\n\t\n", b"\xe2\x80\xa8", b"\x0c\n")


def mutated_text(rng: random.Random, text: bytes, other: bytes, times: int = 1) -> bytes:
    """The text with so many changes of its bytes and lines, some of them taken from another text."""
    for _ in range(times):
        text = rng.choice(_TEXT_CHANGES)(rng, text, other)
    return text


def _insert(rng: random.Random, text: bytes, other: bytes) -> bytes:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_SNIPPETS) + text[at:]


def _cut(rng: random.Random, text: bytes, other: bytes) -> bytes:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.choice((1, 5, 60, len(text))) :]


def _flip(rng: random.Random, text: bytes, other: bytes) -> bytes:
    at = rng.randrange(max(1, len(text)))
    return text[:at] + bytes(byte ^ 1 << rng.randrange(8) for byte in text[at : at + 1]) + text[at + 1 :]


def _lines(rng: random.Random, text: bytes, other: bytes) -> bytes:
    lines, theirs = text.split(b"\n"), other.split(b"\n")
    row = rng.randrange(len(lines))
    end = row + rng.randrange(1, 12)
    begin = rng.randrange(len(theirs))
    taken = theirs[begin : begin + rng.randrange(1, 20)]
    conflict = [b"<<<<<<< HEAD", *lines[row:end], b"=======", *taken, b">>>>>>> theirs"]
    indented = [b" " * rng.randrange(12) + line.strip() for line in lines[row:end]]
    tabbed = [b"\t" + line for line in lines[row:end]]
    lines[row:end] = rng.choice((lines[row:end] * 2, [], taken, conflict, indented, tabbed, lines[row:end][::-1]))
    return b"\n".join(lines)


def _number(rng: random.Random, text: bytes, other: bytes) -> bytes:
    found = list(re.finditer(rb"\d+(\.\d+)?", text))
    if not found:
        return _insert(rng, text, other)
    match = rng.choice(found)
    new = rng.choice((*_NUMBER_TEXTS, b"-" + match[0], match[0] + b"0", match[0] + b"0" * 12, b"0" + match[0]))
    return text[: match.start()] + new + text[match.end() :]


def _whole(rng: random.Random, text: bytes, other: bytes) -> bytes:
    encoded = text.decode("utf-8", "replace").encode(rng.choice(_ENCODINGS), "replace")
    ended = text.replace(b"\n", rng.choice(_LINE_ENDS))
    return rng.choice(
        (
            b"\xef\xbb\xbf" + text,
            text + b"\n---\n" + text,
            text + b"\n...\n" + other,
            text.strip(),
            encoded,
            ended,
            ended,
        )
    )


_TEXT_CHANGES = (_insert, _insert, _insert, _cut, _cut, _flip, _lines, _lines, _lines, _number, _number, _whole)
