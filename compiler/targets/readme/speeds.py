"""How fast the servers are, for the README: estimates, and what is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compiler.plan.ir import Plan, Service
from compiler.plan.speed import Measure, ServiceSpeed
from compiler.render.quoting import MarkdownCode
from compiler.speed.estimate import Estimate, Mark
from compiler.targets.readme.tables import Cell, Table
from compiler.units import format_rate, format_seconds


@dataclass(frozen=True, slots=True)
class SpeedPage:
    """Estimates of speed.

    Attributes:
        lengths: of the requests that they are for, in words; one entry for all servers that have the same.
        objectives: of each server that has any: its name and what is asked, in words.
        unknown: servers of which nothing is known.
    """

    table: Table
    lengths: tuple[str, ...]
    objectives: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]


_COLUMNS = ("Server", "Requests at once", "First token, on average", "Tokens/s of each", "Tokens/s of all", "Rests on")


def speed_page(plan: Plan) -> SpeedPage | None:
    """None where nothing is known of any server, and nothing asked."""
    known = [(service, service.speed) for service in plan.services if service.speed is not None]
    objectives = tuple(_objectives(plan))
    if not known and not objectives:
        return None
    rows = tuple(row for service, speed in known for row in _rows(service, speed))
    unknown = tuple(service.name for service in plan.services if service.speed is None)
    return SpeedPage(Table("Speed", _COLUMNS, rows), tuple(_lengths(known)), objectives, unknown)


def _rows(service: Service, known: ServiceSpeed) -> Iterator[tuple[Cell, ...]]:
    measures = {each.concurrency: each for each in known.measures}
    for count, measure in sorted(measures.items()):
        speed = measure.speed
        yield (
            MarkdownCode(service.name),
            f"{count}{_role(service, count)}",
            interval_text(speed.ttft, format_seconds),
            interval_text(speed.request_rate, format_rate),
            interval_text(speed.output_rate, format_rate),
            _ground(measure),
        )


def _role(service: Service, count: int) -> str:
    return ", as promised" if count == service.concurrency else ", the most that run" if count > 1 else ""


def _ground(measure: Measure) -> str:
    ground = measure.speed.ground
    return ground.mark.value if ground.mark is Mark.MEASURED else f"{ground.mark.value}: {'; '.join(ground.reasons)}"


def interval_text(found: Estimate, shown: Callable[[float], str]) -> str:
    """An estimate for a cell: its ends, and what is expected."""
    return f"{shown(found.low)} to {shown(found.high)}, about {shown(found.expected)}"


def _lengths(known: list[tuple[Service, ServiceSpeed]]) -> Iterator[str]:
    """One for all where it is the same, else each with its names."""
    by_length: dict[tuple[int, int], list[str]] = {}
    for service, speed in known:
        by_length.setdefault((speed.prompt, speed.answer), []).append(service.name)
    for (prompt, answer), names in by_length.items():
        whose = "" if len(by_length) == 1 else f" for {', '.join(names)}"
        yield f"{prompt} tokens that are answered with {answer}{whose}"


def _objectives(plan: Plan) -> Iterator[tuple[str, str]]:
    for service in plan.services:
        asked = service.objectives
        if asked is None:
            continue
        words = []
        if asked.ttft_p95 is not None:
            words.append(f"95 of 100 first tokens within {format_seconds(asked.ttft_p95)}")
        if asked.tokens_per_second is not None:
            words.append(f"{asked.tokens_per_second:g} tokens/s for each request")
        if words:
            yield service.name, ", ".join(words)
