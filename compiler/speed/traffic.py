"""From the time of steps and prefills to what clients see, by how requests come. All times are milliseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from compiler.speed.constants import Constants
from compiler.speed.decode import soft_max, step_ms
from compiler.speed.load import Load, Regime, most_at_once
from compiler.speed.prefill import prefill_ms
from compiler.speed.server import Server


@dataclass(frozen=True, slots=True)
class Times:
    """What one request sees, on average, and what all get together.

    Attributes:
        ttft: from asking to the first token.
        tpot: from token to token after it.
        request: from asking to the last token.
        output_rate: tokens a second that the server writes.
        at_once: requests that run.
    """

    ttft: float
    tpot: float
    request: float
    output_rate: float
    at_once: float


def times(server: Server, load: Load) -> Times:
    """By how requests come."""
    limit = most_at_once(server.shape, server.ranks, load, server.pool, server.constants)
    if load.regime in (Regime.BURST, Regime.BATCH):
        return _burst(server, load, limit)
    if load.regime is Regime.OPEN:
        return _open_loop(server, load, limit)
    return _closed_loop(server, load, float(load.concurrency), limit)


@dataclass(frozen=True, slots=True)
class _Cycle:
    """Requests that run side by side, each replaced by another when it ends.

    Attributes:
        step: in which each gets a token.
        prefill: of one prompt, as far as it holds up the others.
        total: in which each of them is served once.
    """

    step: float
    prefill: float
    total: float


def _cycle(server: Server, load: Load, running: float) -> _Cycle:
    step = step_ms(server, running, _context(load))
    prefill = _prefill(server, load) * server.constants.prefill_overlap
    return _Cycle(step, prefill, (load.output - 1) * step + running * prefill)


def _context(load: Load) -> float:
    return load.input + load.output / 2


def _prefill(server: Server, load: Load) -> float:
    return prefill_ms(server, load.input)


def _closed_loop(server: Server, load: Load, clients: float, limit: float) -> Times:
    running = min(clients, limit)
    cycle = _cycle(server, load, running)
    base = server.constants.request_ms
    ttft = base + server.constants.request_each_ms * running + _alone(server, load) + cycle.step / 2
    ttft += _queue(load, cycle, running, server.constants)
    tpot = cycle.step
    if load.output > 1 and running > 1:
        tpot = max(cycle.step, (cycle.total + base + cycle.step / 2 - ttft) / (load.output - 1))
    served = ttft + (load.output - 1) * tpot
    waiting = (clients - running) / running * cycle.total
    return Times(ttft + waiting, tpot, served + waiting, running * load.output / served * 1000, running)


def _alone(server: Server, load: Load) -> float:
    """The first step of a request that no other holds up."""
    one = step_ms(server, 1, _context(load))
    return soft_max(one, _prefill(server, load))


def _queue(load: Load, cycle: _Cycle, running: float, constants: Constants) -> float:
    """Waiting for the prefills of others: half of them where all come at once, else as before one counter."""
    half = (running - 1) / 2 * cycle.prefill
    if load.lockstep:
        return constants.queue_lockstep * half
    busy = min(running * cycle.prefill / cycle.total, constants.busy_most) if cycle.total else constants.busy_most
    counter = min(busy / (2 * (1 - busy)) * cycle.prefill, half)
    return constants.queue_spread * half + (1 - constants.queue_spread) * counter


def _burst(server: Server, load: Load, limit: float) -> Times:
    """All at once: waves of as many as run, and where their lengths differ a tail of few."""
    if load.requests is None:
        return _closed_loop(server, load, limit, limit)
    running, constants = min(float(load.requests), limit), server.constants
    cycle, waves = _cycle(server, load, running), load.requests / running
    tail = 0.0
    if load.lockstep:
        waves = (waves + math.ceil(waves)) / 2
    else:
        few = step_ms(server, max(1.0, running / 10), _context(load))
        tail = (constants.long_tail if load.long_tail else constants.tail) * load.output * few
    total = waves * cycle.total + tail + constants.request_ms
    first = _closed_loop(server, load, running, limit)
    waiting = (waves - 1) / 2 * cycle.total
    return Times(first.ttft + waiting, first.tpot, total, load.requests * load.output / total * 1000, running)


_HALVINGS = 60


def _open_loop(server: Server, load: Load, limit: float) -> Times:
    """As many run as come in while one is served: a fixed point, looked for by halving.

    A run of few requests ends before it is steady: its requests come during `requests / rate`, and the last one stays.
    """
    low, high = 1.0, min(4 * limit, load.requests or math.inf)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        alive = _alive(load, _closed_loop(server, load, middle, limit).request)
        low, high = (middle, high) if alive > middle else (low, middle)
    found = _closed_loop(server, load, low, limit)
    return replace(found, output_rate=_alive(load, found.request) * load.output / found.request * 1000)


def _alive(load: Load, request: float) -> float:
    """Requests that are there on average, each for so many milliseconds."""
    arriving = (load.rate or 0.0) / 1000
    if load.requests is None:
        return arriving * request
    return load.requests * request / (load.requests / arriving + request) if arriving else 1.0
