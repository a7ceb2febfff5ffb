"""How fast a plan's servers are, as estimates of what one request sees: alone, among as many as are promised, and full.

Neighbours on the same GPUs are taken to be idle, and prompts to have nothing in common.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.engines.interface.demand import Demand
from compiler.engines.interface.pinned import PinnedEngine
from compiler.ledger import RowKind
from compiler.lock.models import repository_of
from compiler.solve.budget import Server
from compiler.spec.nodes.models import NodeSpec
from compiler.spec.objectives import ANSWER_TOKENS, PROMPT_TOKENS
from compiler.spec.services import ServiceSpec
from compiler.speed.cards import CARDS, Card
from compiler.speed.estimate import Estimate
from compiler.speed.load import Load, Pool, Regime, most_at_once
from compiler.speed.measured import MeasuredSpeed, Served, corrected
from compiler.speed.shape import Replica
from compiler.speed.speed import Speed, predict


@dataclass(frozen=True, slots=True)
class Measure:
    """A load, and the speed under it.

    Attributes:
        concurrency: requests that clients have open.
        ttft_p95: seconds to the first token that 95 of 100 requests see at most.
    """

    concurrency: int
    speed: Speed
    ttft_p95: Estimate


@dataclass(frozen=True, slots=True)
class ServiceSpeed:
    """Of one server, for requests of one length.

    Attributes:
        prompt, answer: tokens of a request.
        alone: with one request.
        promised: with as many as the spec promises; None where that is one, or where nothing is known of it.
        full: with as many as run at once, likewise.
    """

    prompt: int
    answer: int
    alone: Measure
    promised: Measure | None = None
    full: Measure | None = None

    @property
    def at_promise(self) -> Measure:
        """With as many requests as the spec promises, or one where no more is known."""
        return self.promised or self.alone

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All that there are, from few requests to many."""
        return tuple(each for each in (self.alone, self.promised, self.full) if each is not None)


@dataclass(frozen=True, slots=True)
class Estimator:
    """What predicts a server's speed under any number of requests of one length.

    Attributes:
        measured: of servers like it.
    """

    replica: Replica
    card: Card
    pool: Pool
    prompt: int
    answer: int
    measured: tuple[MeasuredSpeed, ...] = ()

    def under(self, concurrency: int) -> Measure | None:
        """With so many requests open."""
        alone = self._predicted(Load(Regime.SINGLE, self.prompt, self.answer, 1))
        if alone is None or concurrency == 1:
            return None if alone is None else Measure(1, alone, alone.ttft)
        load = Load(Regime.CLOSED, self.prompt, self.answer, concurrency)
        spread, together = self._predicted(load), self._predicted(replace(load, lockstep=True))
        if spread is None or together is None:
            return None
        return Measure(concurrency, spread, _slowest_first_tokens(alone.ttft, spread.ttft, together.ttft))

    def _predicted(self, load: Load) -> Speed | None:
        said = self._said(load)
        return None if said is None else corrected(said, load, self.measured, self._said)

    def _said(self, load: Load) -> Speed | None:
        return predict(self.replica.shape, self.card, self.replica.ranks, load, self.pool)

    @property
    def most(self) -> int:
        """Requests that run at once."""
        load = Load(Regime.CLOSED, self.prompt, self.answer, self.pool.seats)
        return int(most_at_once(self.replica.shape, self.replica.ranks, load, self.pool))


# Prompts that come together are read one after another: the last of them waits about twice the average.
_LAST = 2.0


def _slowest_first_tokens(alone: Estimate, spread: Estimate, together: Estimate) -> Estimate:
    """The 95th percentile, which nobody publishes.

    No less than a request waits for that is alone, nor than the average of requests that come one by one; no more than
    the wait of the last that come at once.
    """
    low = max(alone.low, spread.low)
    expected = max(low, spread.expected, together.expected)
    return Estimate(low, expected, max(expected, spread.high, _LAST * together.high))


def lengths(spec: ServiceSpec, longest: int) -> tuple[int, int]:
    """Tokens of prompt and answer of the request that speeds are told for: what the objectives say, or an assumption.

    Args:
        longest: tokens of a request that the server takes.
    """
    asked = spec.objectives
    prompt = PROMPT_TOKENS if asked is None else asked.prompt_tokens
    answer = ANSWER_TOKENS if asked is None else asked.answer_tokens
    if prompt + answer <= longest:
        return prompt, answer
    answer = min(answer, max(1, longest // 5))
    return max(1, longest - answer), answer


def estimator(engine: PinnedEngine, spec: ServiceSpec, node: NodeSpec, server: Server, seats: int) -> Estimator | None:
    """Of a server in its place; None where nothing is known of its card, its slice of one, or its engine.

    Args:
        seats: requests that run at once at most.
    """
    gpus = node.gpus
    is_one = gpus is not None and gpus.mig is None and len({each.model for each in node.cards}) == 1
    card = CARDS.get(gpus.model or "") if gpus is not None and is_one else None
    replica = None if card is None or spec.pools else engine.replica(server.demand)
    if card is None or replica is None:
        return None
    prompt, answer = lengths(spec, server.demand.length)
    pool = Pool(_cache_bytes(server.demand, server.units), seats)
    return Estimator(replica, card, pool, prompt, answer, _measured(engine, server))


def _measured(engine: PinnedEngine, server: Server) -> tuple[MeasuredSpeed, ...]:
    """Of servers like this one: of the same model, on as many of the cards."""
    variant = server.demand.variant
    served = Served(repository_of(variant.name), variant.method, len(server.devices))
    return tuple(one for one in engine.measured_speeds if one.served == served)


def service_speed(found: Estimator | None, concurrency: int) -> ServiceSpeed | None:
    """What an estimator says of a server that promises so many requests at once."""
    alone = None if found is None else found.under(1)
    if found is None or alone is None:
        return None
    promised, full = (None if count == 1 else found.under(count) for count in (concurrency, found.most))
    return ServiceSpeed(found.prompt, found.answer, alone, promised, full)


def _cache_bytes(demand: Demand, units: int) -> int:
    """Of the KV cache of one rank, as its ledger has it."""
    rows = demand.heaviest.cache_rows(units)
    return sum(row.bytes.expected for row in rows if row.kind is RowKind.KV_CACHE)
