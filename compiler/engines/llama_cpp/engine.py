"""llama.cpp, as the registry of engines has it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from compiler.diagnostics import Diagnostic
from compiler.engines.interface.calibration import Calibration, StartUps
from compiler.engines.interface.engine import Engine, LatencyHistogram
from compiler.engines.interface.host import Packages
from compiler.engines.llama_cpp.calibrate.apply import calibrated
from compiler.engines.llama_cpp.calibrate.start_ups import START_UPS
from compiler.engines.llama_cpp.host.facts import FIXED, HOST_FILE_OPTIONS
from compiler.engines.llama_cpp.options.catalog import load_flags
from compiler.engines.llama_cpp.options.check import check_engine_args
from compiler.engines.llama_cpp.pinned import PinnedLlamaCpp
from compiler.engines.llama_cpp.releases import SERVED, release_named
from compiler.engines.llama_cpp.words import KEYS, WORDS, key_hint
from compiler.lock.models import Format, Lock
from compiler.spec.engines import LLAMA_CPP
from compiler.spec.reading.engine_advice import Foreign, Words
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec

SAFE_BUILD = 8146
_UNSAFE = (
    f"a crafted GGUF file runs code in builds before b{SAFE_BUILD} (CVE-2025-53630, and CVE-2026-27940 where that was "
    "mended)"
)


@dataclass(frozen=True, slots=True)
class KnownBuild:
    """See `compiler.engines.interface.engine.ReleaseFacts`. One build serves on GPUs and on CPUs."""

    version: str
    build: None = None
    minimum_capability: tuple[int, int] = (0, 0)
    title: str = "llama.cpp"
    unmeasured: None = None


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """See `compiler.engines.interface.engine.Engine`."""

    name: str = LLAMA_CPP
    title: str = "llama.cpp"
    missing: None = None
    formats: frozenset[Format] = frozenset({"gguf"})
    keys: frozenset[str] = KEYS
    fixed_variables: frozenset[str] = FIXED
    host_file_options: tuple[str, ...] = HOST_FILE_OPTIONS
    start_ups: StartUps = START_UPS

    @property
    def releases(self) -> Mapping[str, KnownBuild]:
        """Those that stackc knows."""
        return {build: KnownBuild(build) for build in SERVED}

    @property
    def words(self) -> Mapping[str, Words]:
        """By the key of a service."""
        return WORDS

    def key_hint(self, name: str, release: str | None) -> Foreign | None:  # noqa: ARG002  (the same in each build)
        """What to say of a key that no service has."""
        return key_hint(name)

    def why_not_release(self, version: str) -> str | None:
        """Builds that run what a stranger's file says."""
        number = re.fullmatch(r"b?([0-9]{1,7})", version, re.ASCII)
        return _UNSAFE if number is not None and int(number[1]) < SAFE_BUILD else None

    def options(self, release: str) -> Iterator[tuple[str, str]]:
        """Options of `llama-server`, each with the section of its help."""
        flags = load_flags(release).flags
        return ((flag.name.removeprefix("--"), flag.group) for flag in flags if not flag.is_removed)

    def check(self, file: SpecFile, service: str) -> Iterator[Diagnostic]:
        """Its `engine_args`."""
        yield from check_engine_args(file, service)

    def check_models(self, file: SpecFile, lock: Lock, services: Collection[str]) -> Iterator[Diagnostic]:  # noqa: ARG002
        """Nothing: what a candidate lacks is a refusal of it."""
        return iter(())

    def latencies(self, service: ServiceSpec, release: str) -> Mapping[str, LatencyHistogram]:  # noqa: ARG002
        """None: `llama-server` has counters and gauges, and no histograms."""
        return {}

    def pin(self, release: str, calibration: Calibration | None, *, assumes_full: bool) -> PinnedLlamaCpp:
        """A known build, with a measurement in place of the estimate where there is one."""
        del assumes_full
        speeds = () if calibration is None else calibration.speeds
        return PinnedLlamaCpp(calibrated(release_named(release), calibration), speeds)

    def packages(self) -> tuple[Packages, ...]:
        """None: pip installs no `llama-server`."""
        return ()

    def silenced_by(self, service: ServiceSpec) -> None:
        """None."""


ENGINE: Engine = LlamaCpp()
