"""Measured speeds in a calibration file: how they are written, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from compiler.render.quoting import quote_yaml
from compiler.source.document import Path
from compiler.speed.measured import MeasuredSpeed, Served

TEXTS = ("service", "model", "quantization", "recorded")
COUNTS = ("gpus", "concurrency", "prompt", "answer")
FIGURES = ("ttft_ms", "tpot_ms", "output_rate")
MOST_COUNT, MOST_FIGURE = 1 << 31, 1e9
_DIGITS = 3
LEAST_FIGURE = 10**-_DIGITS


def speed_lines(speeds: Sequence[MeasuredSpeed]) -> Iterator[str]:
    """Of the file; none where nothing was measured."""
    if speeds:
        yield "speed:"
    for one in sorted(speeds, key=lambda each: (each.service, each.recorded, each.concurrency)):
        mark = "-"
        for key, value in _fields(one).items():
            yield f"  {mark} {key}: {quote_yaml(value) if isinstance(value, str) else value}"
            mark = " "


def as_object(one: MeasuredSpeed) -> dict[str, str | int | float]:
    """For programs: as the file has it."""
    return _fields(one)


def _fields(one: MeasuredSpeed) -> dict[str, str | int | float]:
    served = one.served
    return {
        "service": one.service,
        "model": served.model,
        "quantization": served.quantization,
        "gpus": served.gpus,
        "concurrency": one.concurrency,
        "prompt": one.prompt,
        "answer": one.answer,
        "ttft_ms": round(one.ttft_ms, _DIGITS),
        "tpot_ms": round(one.tpot_ms, _DIGITS),
        "output_rate": round(one.output_rate, _DIGITS),
        "recorded": one.recorded,
    }


def speed_problem(data: Any) -> tuple[Path, str] | None:
    """The first thing that is wrong with `speed` of a file, and where."""
    if data is None:
        return None
    if not isinstance(data, list):
        return ("speed",), "`speed` must be a list"
    for index, one in enumerate(data):
        where: Path = ("speed", index)
        if not isinstance(one, dict):
            return where, f"`speed[{index}]` must be a map"
        for key, words, fine in _RULES:
            if not fine(one.get(key)):
                return (*where, key) if key in one else where, f"`speed[{index}].{key}` must be {words}"
    return None


def speeds_of(data: Any) -> tuple[MeasuredSpeed, ...]:
    """Of a file that has no problem."""
    return tuple(
        MeasuredSpeed(
            service=one["service"],
            served=Served(one["model"], one["quantization"], one["gpus"]),
            concurrency=one["concurrency"],
            prompt=one["prompt"],
            answer=one["answer"],
            ttft_ms=float(one["ttft_ms"]),
            tpot_ms=float(one["tpot_ms"]),
            output_rate=float(one["output_rate"]),
            recorded=one["recorded"],
        )
        for one in data or ()
    )


def is_text(value: Any) -> bool:
    """Whether a value is text that says something."""
    return isinstance(value, str) and bool(value.strip())


def is_count(value: Any) -> bool:
    """Whether a value is a whole number above 0, of a size that something may have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < MOST_COUNT


def is_figure(value: Any) -> bool:
    """Whether a value is a number above 0, of a size that something may have."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and LEAST_FIGURE <= value < MOST_FIGURE


_RULES = (
    *((key, "text", is_text) for key in TEXTS),
    *((key, "a whole number above 0", is_count) for key in COUNTS),
    *((key, "a number above 0", is_figure) for key in FIGURES),
)
