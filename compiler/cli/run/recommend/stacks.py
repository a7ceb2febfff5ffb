"""`stackc recommend --also`: services that share the cards, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compiler.choose.recommend.stack import Stack
from compiler.cli.run.recommend.document import choice_object
from compiler.cli.terminal import wrapped
from compiler.registry.read import Registry
from compiler.units import format_gib, format_tokens


def stack_object(stack: Stack, known: Registry) -> dict[str, Any]:
    """Each service with what was passed over, and what is left of each GPU."""
    return {
        "services": {
            part.name: {**choice_object(part.choice, known), "why": part.why, "no_room_for": list(passed)}
            for part, passed in zip(stack.parts, stack.passed, strict=True)
        },
        "devices": [
            {"index": ledger.index, "total_bytes": ledger.total, "slack_bytes": ledger.slack}
            for ledger in stack.solution.ledgers
        ],
    }


def stack_lines(stack: Stack | None) -> Iterator[str]:
    """Each service in a line with why, then the GPUs."""
    yield ""
    if stack is None:
        yield "nothing fits together on these cards"
        return
    yield "together, proved to fit at once; the first task's model is chosen first:"
    where = {server.demand.service: server.devices for server in stack.solution.servers}
    for part in stack.parts:
        gpus = ", ".join(map(str, where[part.name]))
        length = format_tokens(part.choice.proof.context)
        told = f"{part.name} on GPU {gpus}: {part.choice.checkpoint.repository}, {part.wish.at_once} × {length}"
        yield from wrapped(f"{told}. {part.why}")
    for ledger in stack.solution.ledgers:
        free = f"{format_gib(ledger.slack)} of {format_gib(ledger.total)} GiB left at most use"
        yield f"  GPU {ledger.index}: {free}"
