"""Tables that keep to the terminal's width: texts are shortened first, then the least important columns left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compiler.report.paint import Glyphs, Line, Piece, joined, padded, shortened, text_cells

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        is_right: whether it holds numbers.
        least: columns of the terminal to which it may shrink; 0 for one that is shown whole.
        rank: of several that can be left out, the one with the largest goes first; 0 for one that stays.
    """

    title: str
    is_right: bool = False
    least: int = 0
    rank: int = 0


def table_lines(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int,
    glyphs: Glyphs,
    colors: Sequence[str | None] = (),
) -> Iterator[Line]:
    """A heading and a line for each row, none wider than `width`; `colors` are of the rows' first cells."""
    natural = [max(text_cells(cell) for cell in (column.title, *cells)) for column, cells in _by_column(columns, rows)]
    widths = _fitted(columns, natural, width)
    kept = [index for index, size in enumerate(widths) if size]
    titles = (_cell(columns[index].title, columns[index], widths[index], glyphs) for index in kept)
    yield joined((Piece("  ".join(titles), is_dim=True),))
    for row, color in zip(rows, [*colors, *[None] * (len(rows) - len(colors))], strict=True):
        texts = [_cell(row[index], columns[index], widths[index], glyphs) for index in kept]
        yield joined((Piece(texts[0], color, is_bold=True), Piece("".join(f"  {text}" for text in texts[1:]))))


def _by_column(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[tuple[Column, list[str]]]:
    yield from ((column, [row[index] for row in rows]) for index, column in enumerate(columns))


def _cell(text: str, column: Column, width: int, glyphs: Glyphs) -> str:
    return padded(shortened(text, width, glyphs.ellipsis), width, is_right=column.is_right)


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Widths that fit, 0 for a column that is left out."""
    kept = [True] * len(columns)
    while True:
        widths = [size if keep else 0 for size, keep in zip(natural, kept, strict=True)]
        widths = _shrunk(columns, widths, width)
        if _sum(widths) <= width:
            return widths
        optional = [(column.rank, index) for index, column in enumerate(columns) if kept[index] and column.rank]
        if not optional:
            return widths
        kept[max(optional)[1]] = False


def _shrunk(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """The widest of what can shrink gives way first."""
    sizes = list(widths)
    for _ in range(_sum(sizes) - width):
        soft = [index for index, column in enumerate(columns) if column.least and sizes[index] > column.least]
        if not soft:
            break
        sizes[max(soft, key=lambda index: sizes[index])] -= 1
    return sizes


def _sum(widths: Sequence[int]) -> int:
    shown = [size for size in widths if size]
    return sum(shown) + _GAP * max(0, len(shown) - 1)
