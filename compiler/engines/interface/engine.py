"""What is asked of an engine before a release of it is chosen, and before any model is looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from compiler.diagnostics import Diagnostic
from compiler.engines.interface.calibration import Calibration, StartUps
from compiler.engines.interface.host import Packages
from compiler.engines.interface.pinned import PinnedEngine
from compiler.lock.models import Format, Lock
from compiler.spec.reading.engine_advice import Advisor
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec


class ReleaseFacts(Protocol):
    """What is asked of a release without running anything on it."""

    @property
    def version(self) -> str:
        """As a spec pins it."""

    @property
    def build(self) -> Literal["gpu", "cpu"] | None:
        """The kind of node that it serves on; None for either."""

    @property
    def minimum_capability(self) -> tuple[int, int]:
        """The least compute capability that it has kernels for."""

    @property
    def title(self) -> str:
        """The engine, for messages."""

    @property
    def unmeasured(self) -> str | None:
        """Why no calibration can be of it, as what it is; None where one can."""


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """What measures one objective of `monitoring`.

    Attributes:
        series: the histogram's name.
        bounds: upper bounds of its buckets at a service, in seconds, ascending, without infinity.
    """

    series: str
    bounds: tuple[float, ...]


class Engine(Advisor, Protocol):
    """An engine: its words, its options, and what of a spec is its own to check."""

    @property
    def name(self) -> str:
        """Its key in `engine` of a spec."""

    @property
    def releases(self) -> Mapping[str, ReleaseFacts]:
        """Those that stackc knows, by version."""

    @property
    def missing(self) -> str | None:
        """What stackc lacks to run services on it, as a half-sentence; None if it runs them."""

    @property
    def formats(self) -> frozenset[Format]:
        """In which weights may be."""

    @property
    def keys(self) -> frozenset[str]:
        """Keys of a service that it has, of those that not every engine has."""

    @property
    def fixed_variables(self) -> frozenset[str]:
        """Variables for which its servers take nobody's word but the plan's."""

    @property
    def host_file_options(self) -> tuple[str, ...]:
        """Options that may name a file or folder of the host."""

    def why_not_release(self, version: str) -> str | None:
        """What is known to be wrong with a release that stackc does not know, as a sentence."""

    @property
    def start_ups(self) -> StartUps:
        """What logs of its starts say of memory."""

    def options(self, release: str) -> Iterable[tuple[str, str]]:
        """The options of a known release, each without dashes and with the part of the engine that it sets."""

    def check(self, file: SpecFile, service: str) -> Iterator[Diagnostic]:
        """What is wrong with one service that runs on it, before the lock is read."""

    def check_models(self, file: SpecFile, lock: Lock, services: Collection[str]) -> Iterator[Diagnostic]:
        """What is wrong with the services that run on it, given the models that may serve them.

        Args:
            file: of a spec that passed all checks, and pins a known release.
            lock: that answers it.
            services: names of those that run on this engine, in the order of the spec.
        """

    def latencies(self, service: ServiceSpec, release: str) -> Mapping[str, LatencyHistogram]:
        """What a server of a known release measures, by the key of `monitoring` that has an objective for it."""

    def pin(self, release: str, calibration: Calibration | None, *, assumes_full: bool) -> PinnedEngine:
        """A known release, as the solver asks it.

        Args:
            calibration: of this release, where a spec names one.
            assumes_full: what it has no formulas for is bounded from above, where it can do that.
        """

    def packages(self) -> Iterable[Packages]:
        """What pip installs of each release, for those that pip installs anything of."""

    def silenced_by(self, service: ServiceSpec) -> str | None:
        """The key of `engine_args` with which a server exposes no metrics; None where it does."""


Engines = Mapping[str, Engine]
"""By the key of `engine` in a spec."""
