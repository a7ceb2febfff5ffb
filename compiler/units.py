"""Quantities as users write and read them: bytes as exact ints, tokens, and estimates with an interval."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
GB = 10**9

_BINARY = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
_DECIMAL = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SIZE_PATTERN = rf"^\s*[0-9]+(\.[0-9]+)?\s*({'|'.join((*_BINARY, *_DECIMAL))})\s*$"
"""What `parse_bytes` reads, for those who only have a pattern."""
TOKENS_PATTERN = r"^\s*0*[1-9][0-9]*[KM]?\s*$"
"""What `parse_tokens` reads as more than none, likewise."""
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]+)", re.ASCII)
_TOKENS = re.compile(r"(?P<number>\d+)(?P<suffix>[A-Za-z]*)", re.ASCII)


class UnitError(ValueError):
    """A quantity that cannot be read.

    Attributes:
        remedy: what to write instead, as the user would type it; None where nothing can be suggested.
    """

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


def parse_bytes(text: str) -> int:
    """Read a memory size such as `94.97GiB` or `80GB`, rounding a fraction of a byte down.

    Raises:
        UnitError: no unit, an unknown unit, or not a number.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        remedy = f"{text.strip()}GiB" if text.strip().isdigit() else None
        raise UnitError(f"`{text}` is not a memory size: give a number and a unit, such as 24GiB", remedy=remedy)
    unit = match["unit"]
    factor = _BINARY.get(unit) or _DECIMAL.get(unit)
    if factor is None:
        known = {name.lower(): name for name in _BINARY | _DECIMAL} | {"g": "GiB", "gi": "GiB", "m": "MiB", "mi": "MiB"}
        remedy = match["number"] + known[unit.lower()] if unit.lower() in known else None
        raise UnitError(f"unknown unit `{unit}`: use B, KiB, MiB, GiB, TiB or KB, MB, GB, TB", remedy=remedy)
    return int(Decimal(match["number"]) * factor)


def parse_tokens(text: str) -> int:
    """Read a token count: `16384`, or `16K` = 16 × 1024.

    A lower-case `k` is refused, because vLLM reads `32k` as 32000 and `32K` as 32768
    (vllm/engine/arg_utils.py:human_readable_int, 0.33.0).

    Raises:
        UnitError: ambiguous, or not a count.
    """
    match = _TOKENS.fullmatch(text.strip())
    if match is None:
        raise UnitError(f"`{text}` is not a token count: write it as 16384 or 16K")
    number, suffix = int(match["number"]), match["suffix"]
    if suffix in ("", "K", "M"):
        return number * {"": 1, "K": KIB, "M": MIB}[suffix]
    if suffix in ("k", "m"):
        decimal, binary = number * {"k": 1000, "m": 10**6}[suffix], number * {"k": KIB, "m": MIB}[suffix]
        raise UnitError(
            f"`{text}` is ambiguous: it could mean {decimal} or {binary} tokens",
            remedy=f"{number}{suffix.upper()}",
        )
    raise UnitError(f"unknown suffix `{suffix}` in `{text}`: write tokens as 16384 or 16K")


def format_gib(size: int) -> str:
    """Bytes as GiB with two decimals, as vLLM prints them (vllm/utils/mem_utils.py:format_gib)."""
    return f"{size / GIB:.2f}"


def format_rate(rate: float) -> str:
    """How often something happens in a second, with about two digits: `4.6`, `31`, `1240`."""
    return f"{rate:.2g}" if rate < 10 else f"{rate:.0f}"  # noqa: PLR2004


def format_seconds(seconds: float) -> str:
    """A time with about two digits, in milliseconds below a second: `48 ms`, `1.9 s`."""
    if seconds < 0.9995:  # noqa: PLR2004  what would be rounded to 1000 ms is a second
        return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"  # noqa: PLR2004
    return f"{seconds:.1f} s"


def binary_size(size: int) -> str:
    """Bytes as `parse_bytes` reads them, exactly, in the largest unit of 1024 that needs no fraction: `32MiB`."""
    exact = (unit for unit, factor in reversed(_BINARY.items()) if size % factor == 0)
    unit = next(exact) if size else "B"
    return f"{size // _BINARY[unit]}{unit}"


def format_tokens(count: int) -> str:
    """A token count as a spec would write it: 16K for 16384, else digits."""
    return f"{count // KIB}K" if count >= KIB and count % KIB == 0 else str(count)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A number of bytes known to lie in [low, high], most likely `expected`. Exact when all three are equal."""

    low: int
    expected: int
    high: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.expected <= self.high:
            raise ValueError(f"not an interval of bytes: {self}")

    @classmethod
    def exact(cls, size: int) -> ByteRange:
        """A size that is known to the byte."""
        return cls(size, size, size)

    @property
    def is_exact(self) -> bool:
        """Whether the interval has no width."""
        return self.low == self.high

    def __add__(self, other: ByteRange) -> ByteRange:
        return ByteRange(self.low + other.low, self.expected + other.expected, self.high + other.high)


def total(ranges: Iterable[ByteRange]) -> ByteRange:
    """Sum of intervals; an exact zero for none."""
    low = expected = high = 0
    for each in ranges:
        low, expected, high = low + each.low, expected + each.expected, high + each.high
    return ByteRange(low, expected, high)


def counted(number: int, noun: str) -> str:
    """A number of things, of which one is one: `1 model`, `2 models`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def largest(limit: int, holds: Callable[[int], bool]) -> int:
    """The largest number from 1 to `limit` for which a condition holds that, once false, stays so; 0 if none."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
