"""Numbers of a model's layers as a lock writes them: `0-31` or `0,3,5-9`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Annotated

from pydantic import AfterValidator, Field

_NUMBER = r"(?:0|[1-9][0-9]{0,4})"
_FORM = re.compile(rf"{_NUMBER}(?:-{_NUMBER})?(?:,{_NUMBER}(?:-{_NUMBER})?)*", re.ASCII)
_LONGEST = 1 << 16


def layer_ranges(numbers: Iterable[int]) -> str:
    """Write numbers, which may come in any order, as ranges; runs of them become one."""
    runs = groupby(enumerate(sorted(set(numbers))), lambda item: item[1] - item[0])
    spans = ([number for _, number in run] for _, run in runs)
    return ",".join(f"{span[0]}" if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans)


def layer_numbers(ranges: str) -> Iterator[int]:
    """The numbers that ranges name, ascending."""
    for start, stop in _spans(ranges):
        yield from range(start, stop + 1)


@lru_cache(maxsize=4096)  # of a model's kinds of tensors most are in all layers
def layer_count(ranges: str) -> int:
    """How many numbers ranges name, without going through them."""
    return sum(stop + 1 - start for start, stop in _spans(ranges))


def _spans(ranges: str) -> Iterator[tuple[int, int]]:
    for part in ranges.split(","):
        start, _, stop = part.partition("-")
        yield int(start), int(stop or start)


def _checked(ranges: str) -> str:
    if _FORM.fullmatch(ranges) is None:
        raise ValueError("is not a list of ranges such as `0,3,5-9`")
    last = -2
    for start, stop in _spans(ranges):
        if not last + 1 < start <= stop:
            raise ValueError("has ranges that overlap, touch or go down")
        last = stop
    return ranges


LayerRanges = Annotated[str, Field(max_length=_LONGEST), AfterValidator(_checked)]
