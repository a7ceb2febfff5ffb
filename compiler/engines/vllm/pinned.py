"""A release of vLLM behind the seam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from compiler.diagnostics import Diagnostic
from compiler.engines.interface.demand import Demand
from compiler.engines.interface.device import Device, Machine
from compiler.engines.interface.host import HostFacts
from compiler.engines.interface.launch import Launch, Seat
from compiler.engines.interface.parsers import KnownParsers
from compiler.engines.interface.pinned import Judge, PinnedEngines
from compiler.engines.interface.problem import Relief
from compiler.engines.interface.terms import Terms
from compiler.engines.vllm.answers.parsers import known_parsers
from compiler.engines.vllm.demand import own
from compiler.engines.vllm.facts import NAME, host_facts
from compiler.engines.vllm.judge.judge import judge
from compiler.engines.vllm.judge.splits import Rules
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.launch import launch
from compiler.engines.vllm.releases.release import Release
from compiler.engines.vllm.reliefs import reliefs
from compiler.engines.vllm.remarks import remarks
from compiler.engines.vllm.speed import replica_of
from compiler.engines.vllm.terms import SEAT_STEPS, least_terms
from compiler.lock.models import Lock
from compiler.spec.models import PolicySpec
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec
from compiler.speed.measured import MeasuredSpeed
from compiler.speed.shape import Replica


@dataclass(frozen=True, slots=True)
class PinnedVllm:
    """See PinnedEngine."""

    release: Release
    measured_speeds: tuple[MeasuredSpeed, ...] = ()

    @property
    def name(self) -> str:
        """As a spec has it below `engine`."""
        return NAME

    def host(self, *, on_gpu: bool) -> HostFacts:
        """What is the same for all its servers: a release is one build, for one kind of node."""
        del on_gpu
        return host_facts(self.release)

    @property
    def version(self) -> str:
        """As a spec pins it."""
        return self.release.version

    @property
    def stand_ins(self) -> str | None:
        """Of which releases its overheads are; None where start-ups of its own were measured."""
        return self.release.stand_ins

    @property
    def seat_steps(self) -> tuple[int, ...]:
        """Sequences at once that are tried where a spec names no number, most first."""
        return SEAT_STEPS

    @property
    def offloads(self) -> bool:
        """A model lies on its GPUs as a whole."""
        return False

    def judging(self, policy: PolicySpec, machine: Machine) -> Judge:
        """Who says of candidates whether they may be served on this machine."""
        return partial(judge, rules=Rules(policy, self.release, machine))

    def least_terms(self, service: ServiceSpec) -> Terms:
        """The least that a service must get."""
        return least_terms(service)

    def reliefs(self, name: str, service: ServiceSpec, device: Device, demand: Demand, free: int) -> Iterator[Relief]:
        """What a server can do with less of."""
        return reliefs(name, service, device, demand, free)

    def remarks(self, file: SpecFile, demand: Demand) -> Iterator[Diagnostic]:
        """What is told of a server that fits, and of whose model not everything is known."""
        return remarks(file, own(demand), self.release)

    def launch(self, seat: Seat) -> Launch:
        """How a server is started in its place."""
        return launch(seat, self.release)

    def capacity(self, demand: Demand) -> KvLayout:
        """Of the rank whose blocks are largest, because every rank has as many."""
        return own(demand).layout

    def replica(self, demand: Demand) -> Replica | None:
        """What of a server decides its speed."""
        return replica_of(own(demand))

    def known_parsers(self, lock: Lock, service: str) -> tuple[KnownParsers, ...]:
        """Those of the families that the models of a service may belong to."""
        return known_parsers(lock, service, self.release.version)

    def assuming_full(self) -> PinnedVllm | None:
        """The same, taking what it has no formulas for as full attention in every layer; None where it does."""
        return None if self.release.assumes_full else replace(self, release=replace(self.release, assumes_full=True))


def pinned(release: Release) -> PinnedEngines:
    """A release as the only engine of a spec."""
    return {"vllm": PinnedVllm(release)}
