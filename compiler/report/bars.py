"""A device's memory as one line of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from compiler.report.paint import Glyphs, Line, Piece, joined, padded, shortened
from compiler.report.usage import DeviceUse, Part, PartKind
from compiler.units import format_gib

# A name of fewer letters says nothing.
_LEAST_LABEL = 4
_LEAST_BAR = 12


def bar_lines(use: DeviceUse, colors: Mapping[str, str], width: int, glyphs: Glyphs) -> Iterator[Line]:
    """The line of blocks, and under it whose they are, as far as there is room.

    Args:
        colors: of servers, by name.
        width: of the terminal.
    """
    size = f"{format_gib(use.total)} GiB"
    count = len(use.indices)
    size = size if count == 1 else f"{count} {glyphs.times} {size}"
    label = shortened(use.label, max(_LEAST_LABEL, width - len(size) - _LEAST_BAR - 4), glyphs.ellipsis)
    room = max(_LEAST_BAR, width - len(label) - len(size) - 4)
    parts = use.parts
    cells = allotted([part.bytes for part in parts], room)
    blocks = (_block(part, count, colors, glyphs) for part, count in zip(parts, cells, strict=True))
    yield joined((Piece(f"{label} {glyphs.start}"), *blocks, Piece(f"{glyphs.end} {size}")))
    yield joined((Piece(" " * (len(label) + 2)), *_names(use, cells, colors, glyphs)))


def allotted(sizes: Sequence[int], cells: int) -> list[int]:
    """So many cells for each size, `cells` in all: by their parts of the sum, and one at least for what is not zero."""
    whole = sum(sizes)
    if not whole:
        return [0] * len(sizes)
    exact = [divmod(size * cells, whole) for size in sizes]
    given = [floor or int(size > 0) for (floor, _), size in zip(exact, sizes, strict=True)]
    # What got its one cell as a gift has no claim to another.
    order = sorted((index for index, (floor, _) in enumerate(exact) if floor), key=lambda index: -exact[index][1])
    for index in order[: max(0, cells - sum(given))]:
        given[index] += 1
    while sum(given) > cells:
        given[given.index(max(given))] -= 1
    return given


def _block(part: Part, cells: int, colors: Mapping[str, str], glyphs: Glyphs) -> Piece:
    return Piece(part_glyph(part.kind, glyphs) * cells, colors.get(part.service or ""))


def part_glyph(kind: PartKind, glyphs: Glyphs) -> str:
    """The character that a part is drawn with."""
    return {
        PartKind.RESERVE: glyphs.reserve,
        PartKind.WEIGHTS: glyphs.weights,
        PartKind.KV_CACHE: glyphs.kv_cache,
        PartKind.OTHER: glyphs.other,
        PartKind.MARGIN: glyphs.margin,
        PartKind.FREE: glyphs.free,
    }[kind]


def _names(use: DeviceUse, cells: Sequence[int], colors: Mapping[str, str], glyphs: Glyphs) -> Iterator[Piece]:
    """Each server's name under its blocks."""
    shares = {share.service: share for share in use.shares}
    for service, parts in groupby(zip(use.parts, cells, strict=True), key=lambda part: part[0].service):
        room = sum(count for _, count in parts)
        if service is None or room < _LEAST_LABEL:
            yield Piece(" " * room)
            continue
        size = format_gib(shares[service].expected)
        text = f"{service} {size}"
        text = text if len(text) < room else shortened(service, room - 1, glyphs.ellipsis)
        yield Piece(padded(text, room), colors.get(service))
