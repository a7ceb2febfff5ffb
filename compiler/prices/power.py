"""The most that a board may draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from compiler.prices.data_files import read_rows
from compiler.prices.ranges import Range


@dataclass(frozen=True, slots=True)
class BoardPower:
    """A limit, and no measurement: decoding for few requests draws less, prompts and large batches come near it.

    Attributes:
        watts: of one card; from the least to the most over the forms that it is sold in.
        of: what the limit is of: `board`, `chip`, or `GPU and CPU` together.
    """

    watts: Range
    of: str
    source: str


@cache
def board_powers() -> Mapping[str, BoardPower]:
    """By the card's name in the catalog; a card that is not here has no figure."""
    found: dict[str, list[dict[str, object]]] = {}
    for row in read_rows("power.json"):
        found.setdefault(str(row["gpu"]), []).append(row)
    return {gpu: _power(rows) for gpu, rows in found.items()}


def _power(rows: list[dict[str, object]]) -> BoardPower:
    watts = Range.over(float(str(row["watts"])) for row in rows)
    return BoardPower(watts, str(rows[0].get("of", "board")), str(rows[0]["source"]))
