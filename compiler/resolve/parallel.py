"""Several questions at once, in threads. An interrupt ends the questions that wait, and waits for none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def in_parallel(ask: Callable[[_Item], _Answer], items: Iterable[_Item], at_once: int) -> list[_Answer]:
    """The answer for every item, in order; the first exception of any is raised."""
    wanted = list(items)
    if len(wanted) <= 1:
        return [ask(item) for item in wanted]
    pool = ThreadPoolExecutor(min(at_once, len(wanted)))
    try:
        return list(pool.map(ask, wanted))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
