"""Amounts and ranges for people."""

from __future__ import annotations

from compiler.prices.ranges import Range

_WHOLE, _CENTS, _SMALLEST = 100, 2, 0.1
_MILLION = 1e6


def amount_text(amount: float) -> str:
    """An amount of money: `1,599`, `21.90`, `0.34`, `0.0053`."""
    if amount >= _WHOLE:
        return f"{amount:,.0f}"
    return f"{amount:.{_CENTS}f}" if amount >= _SMALLEST or amount == 0 else f"{amount:.{_CENTS}g}"


def range_text(amounts: Range, between: str = " – ") -> str:
    """`1.29 – 2.19`, or one amount where both look the same."""
    low, high = amount_text(amounts.low), amount_text(amounts.high)
    return low if low == high else f"{low}{between}{high}"


def count_range_text(counts: Range) -> str:
    """`4.5 – 8 million`, `12,000 – 18,000`: of what is only known roughly, two figures."""
    millions = counts.low >= _MILLION
    low, high = (f"{_rounded(each / (_MILLION if millions else 1)):,.15g}" for each in (counts.low, counts.high))
    return f"{low if low == high else f'{low} – {high}'}{' million' if millions else ''}"


def _rounded(count: float) -> float:
    return float(f"{count:.2g}")


def dates_text(dates: tuple[str, ...]) -> str:
    """`2025-10 to 2026-07`, of dates in order."""
    if not dates:
        return "undated"
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
