"""What hosts of open models ask for a million tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from compiler.prices.data_files import read_rows


@dataclass(frozen=True, slots=True)
class Quartiles:
    """USD for a million tokens, over the hosts of a model."""

    low: float
    first: float
    median: float
    third: float
    high: float


@dataclass(frozen=True, slots=True)
class Hosted:
    """A model that others serve. What each host's quantization and speed are is not known.

    Attributes:
        hosts: how many the quartiles are over.
        date: the day of the catalogue.
    """

    id: str
    hosts: int
    input: Quartiles
    output: Quartiles
    date: str
    source: str


@cache
def hosted_models() -> Mapping[str, Hosted]:
    """What is shipped, by the model's id on the Hub in lower case."""
    return {str(row["id"]).lower(): _hosted(row) for row in read_rows("hosted.json")}


def hosted_price(names: Iterable[str]) -> Hosted | None:
    """What hosts ask for the first of these models that any serves: a model's id, then those it was made of."""
    known = hosted_models()
    return next((known[name.lower()] for name in names if name.lower() in known), None)


def _hosted(row: dict[str, object]) -> Hosted:
    asked: list[list[float]] = [row["usd_per_million_input"], row["usd_per_million_output"]]  # type: ignore[list-item]
    prompt, answer = (Quartiles(*each) for each in asked)
    return Hosted(str(row["id"]), int(str(row["hosts"])), prompt, answer, str(row["date"]), str(row["source"]))
