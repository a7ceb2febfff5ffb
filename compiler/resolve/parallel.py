"""Several questions at once, in threads. The first failure ends those that wait; an interrupt waits for none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from compiler.resolve.limits import REPOSITORIES_AT_ONCE

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def in_parallel(ask: Callable[[_Item], _Answer], items: Iterable[_Item], at_once: int) -> list[_Answer]:
    """The answer for every item, in order; the first exception of any is raised."""
    wanted = list(items)
    if len(wanted) <= 1:
        return [ask(item) for item in wanted]
    with begun(ask, wanted, at_once) as answers:
        return [answer.result() for answer in answers.values()]


def by_name(ask: Callable[[str], _Answer], names: Iterable[str]) -> dict[str, _Answer]:
    """Ask once for every different name, several at a time."""
    different = sorted(set(names))
    return dict(zip(different, in_parallel(ask, different, REPOSITORIES_AT_ONCE), strict=True))


@contextmanager
def begun(
    ask: Callable[[_Item], _Answer], items: Iterable[_Item], at_once: int
) -> Iterator[dict[_Item, Future[_Answer]]]:
    """Questions that are under way while the caller does something else; at the end those that wait are dropped."""
    wanted = list(dict.fromkeys(items))
    pool = ThreadPoolExecutor(min(at_once, len(wanted)) or 1)
    is_interrupted = False
    try:
        yield {item: pool.submit(ask, item) for item in wanted}
    except KeyboardInterrupt:
        is_interrupted = True
        raise
    finally:
        # After a failure too, no question is left behind that goes on asking a Hub nobody listens to any more.
        pool.shutdown(wait=not is_interrupted, cancel_futures=True)
