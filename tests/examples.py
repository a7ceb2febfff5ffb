"""How many examples of a property are tried: few in the suite that is run at every change, many with hostile inputs."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

FEW, MANY = "few", "many"
"""Profiles of hypothesis; which of them holds is known before tests are read."""
_TIMES = 10


def examples(few: int, **others: Any) -> settings:
    """Settings of a test whose examples take longer than most."""
    asks_more = settings.get_current_profile_name() == MANY
    return settings(max_examples=_TIMES * few if asks_more else few, **others)
