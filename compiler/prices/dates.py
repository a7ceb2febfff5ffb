"""Days and months of prices. Nothing here reads a clock: who asks for an age says what day it is."""

from __future__ import annotations

import datetime as dt

from compiler.units import counted

STALE_DAYS = 365
"""A price that is older is told to be old: list prices of one card moved by a factor within a year."""

_MONTH_TEXT, _MONTH_DAYS, _YEAR_DAYS = len("2026-11"), 30.44, 365.25
_FEW_DAYS, _MANY_MONTHS = 45, 24


def first_day(date: str) -> dt.date:
    """The day that `2026-11-09` is, or the first of a month such as `2026-11`: no price looks younger than it is.

    Raises:
        ValueError: it is neither.
    """
    if len(date) not in (_MONTH_TEXT, len("2026-11-09")):
        raise ValueError(f"`{date}` is not a day such as 2026-11-09, or a month such as 2026-11")
    return dt.date.fromisoformat(date if len(date) > _MONTH_TEXT else f"{date}-01")


def days_old(date: str, today: dt.date) -> int:
    """Days since then; negative for a day that is yet to come."""
    return (today - first_day(date)).days


def age_text(date: str | None, today: dt.date) -> str:
    """For people: `12 days`, `4 months` or `3 years`, and `unknown` of what has no date."""
    if date is None:
        return "unknown"
    days = max(0, days_old(date, today))
    months = round(days / _MONTH_DAYS)
    if days < _FEW_DAYS:
        return counted(days, "day")
    return f"{months} months" if months < _MANY_MONTHS else f"{days / _YEAR_DAYS:.0f} years"
