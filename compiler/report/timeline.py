"""Who starts after whom, and by when each is ready at the latest."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.plan.ir import Plan
from compiler.report.notes import Figure, Notes

_MOST_TICKS = 6
_MINUTE = 60
_LAST = 0.85  # of the line: words of a later mark would stand beside it
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440)  # minutes

_BOUND = "the deadline after which bin/wait-ready gives the start up: a bound that grows with the weights, no forecast"


@dataclass(frozen=True, slots=True)
class Start:
    """One server's start; `x` and `width` are percent of the time line."""

    service: str
    color: int
    x: str
    width: str
    after: str
    latest: Figure


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark of the time line, in percent."""

    x: str
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """All starts of a node, in their order; `left_out` more are not drawn."""

    starts: tuple[Start, ...]
    marks: tuple[Mark, ...]
    left_out: int


def timeline(plan: Plan, colors: dict[str, int], notes: Notes, most: int) -> Timeline:
    """Every start at its latest: after those that it waits for, and for as long as it may take."""
    ends: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    for service in plan.services:
        begin = max((ends[name] for name in service.start_after), default=0)
        ends[service.name] = begin + service.timeouts.ready
        spans.append((begin, ends[service.name]))
    whole = max(ends.values(), default=1)
    starts = tuple(
        Start(
            service=service.name,
            color=colors[service.name],
            x=_percent(begin, whole),
            width=_percent(end - begin, whole),
            after=f"after {', '.join(service.start_after)}" if service.start_after else "at once",
            latest=notes.figure(duration(end), _BOUND),
        )
        for service, (begin, end) in zip(plan.services[:most], spans, strict=False)
    )
    return Timeline(starts, _marks(whole), len(plan.services) - len(starts))


def _marks(whole: int) -> tuple[Mark, ...]:
    minutes = whole / _MINUTE
    step = next((step for step in _STEPS if minutes / step <= _MOST_TICKS), _STEPS[-1] * -(-int(minutes) // 8640))
    return tuple(
        Mark(_percent(minute * _MINUTE, whole), f"{minute} min") for minute in range(0, int(minutes * _LAST) + 1, step)
    )


def duration(seconds: int) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(seconds, _MINUTE)
    return f"{minutes} min" + (f" {rest} s" if rest else "")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3f}"
