"""Whether a model runs on a machine, how long its requests may be, and how many there may be at once.

There is one arithmetic: what is answered here is what the solver answers to the spec that would ask the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from compiler.checks.engines import check_formats
from compiler.checks.machines.devices import check_devices
from compiler.checks.stack import check_nodes
from compiler.choose.demand import SERVICE, Demand, Question, errors_of, question_of
from compiler.diagnostics import Diagnostic
from compiler.engines.interface import demand as interface
from compiler.engines.interface.problem import Problem
from compiler.engines.registry import ENGINES
from compiler.ledger import RowKind, Verdict
from compiler.lock.models import Lock, LockedService, ModelFacts, repository_of
from compiler.lock.names import publisher_of
from compiler.solve.attempt import FirstFit, Misfit, first_fit, high, machine_of
from compiler.solve.budget import Server, Solution
from compiler.spec.nodes.models import NodeSpec
from compiler.spec.ranges import LEAST_CONTEXT, ConcurrencyRange, ContextRange
from compiler.spec.services import ServiceSpec
from compiler.units import format_gib


@dataclass(frozen=True, slots=True)
class Fit:
    """The answer for one model on one machine.

    Attributes:
        verdict: None where it is no matter of memory: the engine does not serve any candidate there as it is asked.
        code: of what stands against it, as in the catalogue of codes; None where it fits.
        reason: the same in words, as a compilation has them.
        short: bytes that the tightest device lacks, where memory is what lacks.
        solution: of what was asked; None where it is neither proved to fit nor within the margin.
        most_context: tokens of the longest request, of which as many fit at once as were asked for. Less than was
            asked where that does not fit; None where none does, or nobody wanted to know.
        most_concurrency: requests of the asked length that fit at once; None likewise.
    """

    verdict: Verdict | None
    code: str | None = None
    reason: str | None = None
    short: int | None = None
    solution: Solution | None = None
    most_context: int | None = None
    most_concurrency: int | None = None

    @property
    def server(self) -> Server | None:
        """The server as it would be started."""
        return self.solution.servers[0] if self.solution is not None else None

    @property
    def candidate(self) -> str | None:
        """The key, among the models that were asked about, of what would be served."""
        return self.server.demand.variant.name if self.server is not None else None

    @property
    def method(self) -> str | None:
        """Its quantization method, or `none`."""
        return self.server.demand.variant.method if self.server is not None else None

    @property
    def gpus(self) -> int | None:
        """How many it is divided over."""
        return len(self.server.devices) if self.server is not None else None

    @property
    def weights(self) -> int | None:
        """Bytes at most of the weights on all its devices."""
        return self._sum(RowKind.WEIGHTS)

    @property
    def cache(self) -> int | None:
        """Bytes of the KV cache on all its devices."""
        return self._sum(RowKind.KV_CACHE)

    @property
    def slack(self) -> int | None:
        """Bytes that are left on the fullest device when every estimate is at its high end."""
        used = [ledger.slack for ledger in self.solution.ledgers if ledger.servers] if self.solution is not None else []
        return min(used) if used else None

    def _sum(self, kind: RowKind) -> int | None:
        if self.solution is None:
            return None
        servers = (server for ledger in self.solution.ledgers for server in ledger.servers)
        return sum(row.bytes.high for server in servers for row in server.rows if row.kind is kind)


def ask(models: Mapping[str, ModelFacts], node: NodeSpec, demand: Demand, *, wants_most: bool = True) -> Fit:
    """Which of the candidates runs on a machine, as it is asked.

    Args:
        models: candidates by their names, of which the first is the model that was asked for. All are trusted.
        node: a machine with GPUs, see `demand.gpus`.
        wants_most: whether the most context and the most concurrency are worth the time that they take.

    Raises:
        ValueError: the demand has values that no spec can have.
    """
    lock = lock_of(repository_of(next(iter(models))), models, demand.quantization)
    return answer(question_of(demand), lock, node, wants_most=wants_most)


def answer(question: Question, lock: Lock, node: NodeSpec, *, wants_most: bool = True) -> Fit:
    """The same of a question that was read, and of a lock that answers it."""
    asked = _Asked(question, lock, node)
    fault = next(asked.faults(), None)
    if fault is not None:
        return Fit(None, fault.code, fault.message)
    found = asked.first_fit()
    if isinstance(found, tuple):
        return Fit(None, found[0].code, found[0].message)
    within = found if isinstance(found, FirstFit) else found.within_margin
    fit = _fit(found, within)
    if not wants_most:
        return fit
    if within is None:
        return replace(fit, most_context=asked.shorter())
    return replace(fit, most_context=asked.most_context(within), most_concurrency=asked.most_concurrency(within))


def _fit(found: FirstFit | Misfit, within: FirstFit | None) -> Fit:
    solution = within.solution() if within is not None else None
    if isinstance(found, FirstFit):
        return Fit(Verdict.FITS, solution=solution)
    short = found.shortfall.short(high)
    verdict, code = (Verdict.UNFIT, "E0401") if solution is None else (Verdict.MARGIN, "E0402")
    return Fit(verdict, code, f"{format_gib(short)} GiB short", short, solution)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question about one machine."""

    question: Question
    lock: Lock
    node: NodeSpec

    @property
    def model(self) -> str:
        """As it was asked for."""
        return self.lock.services[SERVICE].model

    @property
    def service(self) -> ServiceSpec:
        """As it was asked."""
        return self.question.file.spec.services[SERVICE]

    def faults(self) -> Iterator[Diagnostic]:
        """What no choice among the candidates can help, in the order in which a compilation tells it."""
        yield from self.question.faults
        file = self.question.of(self.model, self.node)
        yield from errors_of(check_nodes(file, ENGINES))
        yield from errors_of(check_devices(file))
        yield from errors_of(check_formats(file, self.lock, ENGINES))
        yield from errors_of(ENGINES[self.service.engine].check_models(file, self.lock, (SERVICE,)))

    def first_fit(self, **ranges: ContextRange | ConcurrencyRange) -> FirstFit | Misfit | tuple[Problem, ...]:
        """What the solver says, with other ranges than were asked for."""
        spec = self.question.of(self.model, self.node, **ranges).spec
        return first_fit(machine_of(self.node), spec, self.lock, self.question.engines)

    def most_context(self, found: FirstFit) -> int:
        """With the candidate that is chosen for what was asked."""
        return _grown(found, self.service, context=_context(self.service.context.least)).length

    def most_concurrency(self, found: FirstFit) -> int | None:
        """Likewise; None where the context has no fixed length, but grows first."""
        if self.service.context.is_solved:
            return None
        open_ended = _concurrency(self.service.concurrency.least)
        return _grown(found, self.service, concurrency=open_ended).terms.concurrency

    def shorter(self) -> int | None:
        """The most context where what was asked does not fit."""
        if self.service.context.least <= LEAST_CONTEXT:
            return None
        found = self.first_fit(context=_context(LEAST_CONTEXT))
        within = found.within_margin if isinstance(found, Misfit) else found
        if not isinstance(within, FirstFit):
            return None
        return _grown(within, self.service, context=_context(LEAST_CONTEXT)).length


def _grown(found: FirstFit, service: ServiceSpec, **ranges: ContextRange | ConcurrencyRange) -> interface.Demand:
    """The demand with other ranges, of which the least is the same."""
    return found.grown({SERVICE: service.model_copy(update=ranges)}).assignments[0].demand


@lru_cache(maxsize=64)
def _context(least: int | None) -> ContextRange:
    return ContextRange(min=least)


@lru_cache(maxsize=64)
def _concurrency(least: int | None) -> ConcurrencyRange:
    return ConcurrencyRange(min=least)


def lock_of(model: str, models: Mapping[str, ModelFacts], methods: tuple[str, ...]) -> Lock:
    """What a lock of the same question would hold.

    Args:
        model: that was asked for.
        models: candidates by their names. All are trusted.
        methods: as a service's `quantization`.
    """
    publishers = tuple(sorted({publisher_of(repository_of(name)) for name in models}))
    candidates = tuple(sorted(models))
    service = LockedService(model=model, quantization=methods, publishers=publishers, candidates=candidates)
    return Lock(schema=1, services={SERVICE: service}, models=dict(models))
