"""How many requests of which length a KV cache holds: the steps of its engine's arithmetic, and their curve."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.engines.interface.cache import CacheCapacity
from compiler.plan.ir import Service
from compiler.units import format_tokens, largest

WIDTH, HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 44
_MOST_TICKS = 8
_COUNTED = 256  # a curve has a point for each number of requests up to here
_SPARSE = 50  # a curve of more requests grows by a fiftieth from point to point


@dataclass(frozen=True, slots=True)
class Step:
    """So many requests at once, if none is longer than `tokens`."""

    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis, in the picture's units."""

    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """The steps as a picture of WIDTH × HEIGHT, both axes in powers of two.

    Attributes:
        line: path of the steps; `area` closes it along the axis.
        promised_x, promised_y: where the spec's context and concurrency lie.
        rows: lengths and how many such requests fit at once, for the table.
        source: of all of these.
    """

    service: str
    line: str
    area: str
    promised_x: str
    promised_y: str
    promise: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    rows: tuple[tuple[str, str], ...]
    source: str


def capacity_steps(layout: CacheCapacity, service: Service) -> tuple[Step, ...]:
    """From the most requests at once that the server runs to the fewest, each with the longest that they may be.

    Lengths end at what the server takes. None where the model keeps nothing of a request.
    """
    blocks, limit = service.kv_cache.num_blocks, service.max_model_len
    if not layout.blocks_per_request(limit):
        return ()
    steps: dict[int, int] = {}
    for requests in _counts(service.max_num_seqs):
        tokens = layout.max_length(blocks, limit=limit, concurrency=requests)
        if not tokens:
            break
        steps[tokens] = requests
    return tuple(Step(requests, tokens) for tokens, requests in sorted(steps.items()))


def _counts(most: int) -> Iterator[int]:
    """Numbers of requests to ask about: all up to the most by default, and beyond it some, up to the most."""
    count = 1
    while count < most:
        yield count
        count += 1 if count < _COUNTED else -(-count // _SPARSE)
    yield most


def requests_at_once(layout: CacheCapacity, service: Service, tokens: int) -> int:
    """Requests of that length which fit together, at most as many as the server runs."""
    blocks = service.kv_cache.num_blocks
    return largest(
        service.max_num_seqs, lambda requests: layout.blocks_for(concurrency=requests, length=tokens) <= blocks
    )


@dataclass(frozen=True, slots=True)
class _Axes:
    """Lengths from `shortest` to `longest`, requests from 1 to `most`."""

    shortest: int
    longest: int
    most: int

    def x(self, tokens: int) -> str:
        span = math.log2(self.longest / self.shortest) or 1.0
        part = min(1.0, max(0.0, math.log2(tokens / self.shortest) / span))
        return f"{_LEFT + part * (WIDTH - _LEFT - _RIGHT):.1f}"

    def y(self, requests: int) -> str:
        # One request stands above the axis.
        part = (math.log2(requests) + 1) / (math.log2(self.most) + 1)
        return f"{HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM):.1f}"


def capacity_curve(layout: CacheCapacity, service: Service) -> Curve | None:
    """The picture, or None where there is nothing to draw."""
    steps = capacity_steps(layout, service)
    if not steps:
        return None
    axes = _Axes(_power_below(max(1, steps[0].tokens // 2)), service.max_model_len, max(1, service.max_num_seqs))
    line = f"M{axes.x(axes.shortest)} {axes.y(steps[0].requests)}" + "".join(_path(axes, steps))
    floor = f"{HEIGHT - _BOTTOM:.1f}"
    return Curve(
        service=service.name,
        line=line,
        area=f"{line}V{floor}H{axes.x(axes.shortest)}Z",
        promised_x=axes.x(service.max_model_len),
        promised_y=axes.y(min(max(1, service.concurrency), axes.most)),
        promise=f"promised: {service.concurrency} × {format_tokens(service.max_model_len)}",
        x_ticks=tuple(Tick(axes.x(n), format_tokens(n)) for n in _thinned(_powers(axes.shortest, axes.longest))),
        y_ticks=tuple(Tick(axes.y(n), str(n)) for n in _thinned(_powers(1, axes.most))),
        rows=tuple(
            (format_tokens(n), str(requests_at_once(layout, service, n)))
            for n in dict.fromkeys((*_powers(axes.shortest, axes.longest), axes.longest))
        ),
        source=layout.source(service.kv_cache.num_blocks, service.max_num_seqs),
    )


def _path(axes: _Axes, steps: tuple[Step, ...]) -> Iterator[str]:
    for step in steps:
        yield f"V{axes.y(step.requests)}H{axes.x(step.tokens)}"


def _power_below(count: int) -> int:
    return 1 << (count.bit_length() - 1)


def _powers(low: int, high: int) -> list[int]:
    return [1 << exponent for exponent in range((low - 1).bit_length(), high.bit_length()) if 1 << exponent <= high]


def _thinned(values: list[int]) -> list[int]:
    """Not more than the axis has room for."""
    return values[:: -(-len(values) // _MOST_TICKS) or 1]
