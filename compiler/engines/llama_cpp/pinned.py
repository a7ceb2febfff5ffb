"""A build of llama.cpp behind the seam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from compiler.diagnostics import Diagnostic
from compiler.engines.interface.demand import Demand
from compiler.engines.interface.device import Device, Machine
from compiler.engines.interface.host import HostFacts
from compiler.engines.interface.launch import Launch, Seat
from compiler.engines.interface.parsers import KnownParsers
from compiler.engines.interface.pinned import Judge
from compiler.engines.interface.problem import Relief
from compiler.engines.interface.terms import Terms
from compiler.engines.llama_cpp.demand import own
from compiler.engines.llama_cpp.host.facts import NAME, host_facts
from compiler.engines.llama_cpp.judge import Rules, judge
from compiler.engines.llama_cpp.launch import launch
from compiler.engines.llama_cpp.releases.rules import Release
from compiler.engines.llama_cpp.reliefs import reliefs
from compiler.engines.llama_cpp.speed import replica_of
from compiler.engines.llama_cpp.terms import least_terms
from compiler.lock.models import Lock
from compiler.spec.models import PolicySpec
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec
from compiler.speed.measured import MeasuredSpeed
from compiler.speed.shape import Replica


@dataclass(frozen=True, slots=True)
class PinnedLlamaCpp:
    """See PinnedEngine."""

    release: Release
    measured_speeds: tuple[MeasuredSpeed, ...] = ()
    stand_ins: None = None

    @property
    def name(self) -> str:
        """As a spec has it below `engine`."""
        return NAME

    def host(self, *, on_gpu: bool) -> HostFacts:
        """What is the same for all its servers of a node."""
        return host_facts(self.release, on_gpu=on_gpu)

    @property
    def version(self) -> str:
        """As a spec pins it."""
        return self.release.build

    @property
    def seat_steps(self) -> tuple[int, ...]:
        """A slot is one promised request."""
        return (1,)

    @property
    def offloads(self) -> bool:
        """Layers and experts may stay in main memory."""
        return True

    def judging(self, policy: PolicySpec, machine: Machine) -> Judge:
        """Who says of candidates whether they may be served on this machine."""
        return partial(judge, rules=Rules(policy, self.release, machine))

    def least_terms(self, service: ServiceSpec) -> Terms:
        """The least that a service must get."""
        return least_terms(service)

    def reliefs(self, name: str, service: ServiceSpec, device: Device, demand: Demand, free: int) -> Iterator[Relief]:
        """What a server can do with less of."""
        del free
        return reliefs(name, service, device, demand)

    def remarks(self, file: SpecFile, demand: Demand) -> Iterator[Diagnostic]:
        """Nothing is told of a server that fits."""
        del file, demand
        return iter(())

    def launch(self, seat: Seat) -> Launch:
        """How a server is started in its place."""
        return launch(seat, self.release)

    def capacity(self, demand: Demand) -> None:
        """A slot takes what it was made for, and no other lengths."""
        del demand

    def replica(self, demand: Demand) -> Replica | None:
        """What of a server decides its speed."""
        return replica_of(own(demand))

    def known_parsers(self, lock: Lock, service: str) -> tuple[KnownParsers, ...]:
        """None are chosen: the server reads calls and reasoning by the model's own template (common/chat.cpp)."""
        del lock, service
        return ()

    def assuming_full(self) -> PinnedLlamaCpp | None:
        """A model whose memory is not known is not bounded either."""
        return None
