"""What is asked of a server, and how much of it runs at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.speed.constants import FITTED, Constants
from compiler.speed.shape import Shape


class Regime(StrEnum):
    """How requests come."""

    SINGLE = "single_stream"
    CLOSED = "closed_loop"
    OPEN = "open_loop"
    BURST = "saturated_burst"
    BATCH = "offline_batch"


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that are alike.

    Attributes:
        input, output: tokens of a request, on average.
        concurrency: clients that each wait for an answer before they ask again (single stream, closed loop).
        requests: that come at once (burst, batch); None: as many as keep the server full.
        rate: requests a second (open loop).
        lockstep: all have one length, so that they begin and end together.
        long_tail: lengths differ as in chats of people.
    """

    regime: Regime
    input: float
    output: float
    concurrency: int = 1
    requests: int | None = None
    rate: float | None = None
    lockstep: bool = False
    long_tail: bool = False


@dataclass(frozen=True, slots=True)
class Pool:
    """Where running requests are kept.

    Attributes:
        cache: bytes of the KV cache on one rank.
        seats: requests that the server runs at once, however little they need.
    """

    cache: float
    seats: int


def held_tokens(load: Load, constants: Constants = FITTED) -> float:
    """Tokens that a running request holds in the cache, on average."""
    share = constants.held_lockstep if load.lockstep else constants.held_spread
    return load.input + share * load.output


def most_at_once(shape: Shape, ranks: int, load: Load, pool: Pool, constants: Constants = FITTED) -> float:
    """Requests of this load that run at once at most; 1 at least."""
    held = shape.cache_bytes(held_tokens(load, constants), ranks)
    fit = pool.cache / held if held else float(pool.seats)
    return max(1.0, min(float(pool.seats), fit))
