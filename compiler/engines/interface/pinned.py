"""One release of an engine, as the solver asks it. Everything here is worked out from its arguments alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeAlias

from compiler.diagnostics import Diagnostic
from compiler.engines.interface.cache import CacheCapacity
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.interface.demand import Demand, Variant
from compiler.engines.interface.device import Device, Machine
from compiler.engines.interface.host import HostFacts
from compiler.engines.interface.launch import Launch, Seat
from compiler.engines.interface.parsers import KnownParsers
from compiler.engines.interface.problem import Relief
from compiler.engines.interface.terms import Terms
from compiler.lock.models import Lock
from compiler.spec.models import PolicySpec
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec
from compiler.speed.measured import MeasuredSpeed
from compiler.speed.shape import Replica

Judge: TypeAlias = Callable[[Candidate], Variant | Refusal]


class PinnedEngine(Protocol):
    """A release of an engine."""

    @property
    def name(self) -> str:
        """As a spec has it below `engine`."""

    @property
    def version(self) -> str:
        """As a spec pins it."""

    @property
    def stand_ins(self) -> str | None:
        """Of which releases the overheads are that stand in for its own; None where none do, or were measured since."""

    def host(self, *, on_gpu: bool) -> HostFacts:
        """What is the same for all its servers on nodes with GPUs, or on those without."""

    @property
    def seat_steps(self) -> tuple[int, ...]:
        """Requests at once that are tried where a spec names no number, most first."""

    @property
    def offloads(self) -> bool:
        """Whether layers may stay in main memory, where a spec says how much of it there is."""

    def judging(self, policy: PolicySpec, machine: Machine) -> Judge:
        """Who says of candidates whether they may be served on this machine. Shared answers are worked out once."""

    def least_terms(self, service: ServiceSpec) -> Terms:
        """The least that a service must get."""

    def reliefs(self, name: str, service: ServiceSpec, device: Device, demand: Demand, free: int) -> Iterator[Relief]:
        """What this engine can do with less of, for a service.

        Args:
            demand: what found no place, of this service or of another.
            free: bytes that were left for it.
        """

    def remarks(self, file: SpecFile, demand: Demand) -> Iterator[Diagnostic]:
        """What is told of a server that fits."""

    def launch(self, seat: Seat) -> Launch:
        """How a server is started in its place."""

    def capacity(self, demand: Demand) -> CacheCapacity | None:
        """How many requests of which length its cache holds; None where the terms alone decide that."""

    def replica(self, demand: Demand) -> Replica | None:
        """What of a server decides its speed; None where nothing is known of that."""

    @property
    def measured_speeds(self) -> tuple[MeasuredSpeed, ...]:
        """What clients measured of its servers, on the cards of the stack."""

    def known_parsers(self, lock: Lock, service: str) -> tuple[KnownParsers, ...]:
        """Those of the families that the models of a service may belong to."""

    def assuming_full(self) -> PinnedEngine | None:
        """The same, bounding from above what it has no formulas for; None where it can do no such thing, or does."""


PinnedEngines: TypeAlias = Mapping[str, PinnedEngine]
"""Those that a spec pins, by their words in it; the build for CPUs of one that has another for GPUs by `on_cpu`."""


def on_cpu(engine: str) -> str:
    """The key of an engine's build for nodes without GPUs, where a stack has both kinds of nodes."""
    return f"{engine} on CPUs"


def engine_of(service: ServiceSpec, engines: PinnedEngines) -> PinnedEngine:
    """The engine of a service."""
    build = engines.get(on_cpu(service.engine)) if service.device == "cpu" else None
    return build or engines[service.engine]
