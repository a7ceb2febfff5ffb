"""How people write numbers of parameters and of tokens: `7.6B` and `32K`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from compiler.units import UnitError, parse_tokens

_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,12})?)\s*(?P<suffix>[KMBT]?)", re.ASCII | re.IGNORECASE)


def parse_parameters(text: str) -> int:
    """Read a number of parameters: `7.6B` is 7,600,000,000.

    Raises:
        UnitError: it is none.
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None:
        raise UnitError(f"`{text[:80]}` is no number of parameters: write it as 7.6B, 350M or in digits")
    return int(Decimal(match["number"]) * _FACTORS[match["suffix"].upper()])


def format_parameters(count: int) -> str:
    """A number of parameters in three digits, as people say it: `7.62B`, `671B`, `2.78T`, `3B`."""
    suffix = next((each for each in ("T", "B", "M", "K") if count >= _FACTORS[each]), "")
    return f"{float(f'{count / _FACTORS[suffix]:.3g}'):g}{suffix}"


def written_quantities(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its quantities as numbers. What cannot be read stays as it is, to be told as the wrong value it is."""
    read = dict(row)
    for key, parse in (
        ("parameters", parse_parameters),
        ("active_parameters", parse_parameters),
        ("context", parse_tokens),
    ):
        if isinstance(read.get(key), str) and len(read[key]) <= 20:  # noqa: PLR2004
            try:
                read[key] = parse(read[key])
            except UnitError:
                continue
    return read
