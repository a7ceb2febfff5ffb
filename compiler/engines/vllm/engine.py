"""vLLM, as the registry of engines has it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from compiler.diagnostics import Diagnostic
from compiler.engines.interface.calibration import Calibration, StartUps
from compiler.engines.interface.engine import Engine, LatencyHistogram
from compiler.engines.interface.host import Packages
from compiler.engines.vllm.answers.adapters import check_adapters
from compiler.engines.vllm.answers.media import check_media
from compiler.engines.vllm.answers.parsers import check_parsers
from compiler.engines.vllm.answers.tasks import check_prompts
from compiler.engines.vllm.calibrate.apply import calibrated_release
from compiler.engines.vllm.calibrate.start_ups import START_UPS
from compiler.engines.vllm.host.doors import FIXED_VARIABLES
from compiler.engines.vllm.host.packages import vllm_packages
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.check import check_engine_args
from compiler.engines.vllm.options.decided import HOST_FILE_OPTIONS
from compiler.engines.vllm.options.latencies import latencies, silenced_by
from compiler.engines.vllm.options.words import KEYS, WORDS, key_hint
from compiler.engines.vllm.pinned import PinnedVllm
from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.release import Release
from compiler.lock.models import Format, Lock
from compiler.spec.engines import VLLM
from compiler.spec.reading.engine_advice import Foreign, Words
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec


@dataclass(frozen=True, slots=True)
class Vllm:
    """See `compiler.engines.interface.engine.Engine`."""

    name: str = VLLM
    title: str = "vLLM"
    missing: None = None
    formats: frozenset[Format] = frozenset({"safetensors"})
    keys: frozenset[str] = KEYS
    fixed_variables: frozenset[str] = FIXED_VARIABLES
    host_file_options: tuple[str, ...] = HOST_FILE_OPTIONS
    start_ups: StartUps = START_UPS

    @property
    def releases(self) -> Mapping[str, Release]:
        """Those that stackc knows."""
        return RELEASES

    @property
    def words(self) -> Mapping[str, Words]:
        """By the key of a service."""
        return WORDS

    def key_hint(self, name: str, release: str | None) -> Foreign | None:
        """What to say of a key that no service has."""
        return key_hint(name, release)

    def why_not_release(self, version: str) -> None:
        """Nothing that its number tells."""

    def options(self, release: str) -> Iterator[tuple[str, str]]:
        """Options of `vllm serve`, each with its configuration class."""
        return ((flag.name.removeprefix("--"), flag.group) for flag in load_flags(release).flags)

    def check(self, file: SpecFile, service: str) -> Iterator[Diagnostic]:
        """Its `engine_args`."""
        yield from check_engine_args(file, service)

    def check_models(self, file: SpecFile, lock: Lock, services: Collection[str]) -> Iterator[Diagnostic]:
        """Parsers, media and prompts."""
        yield from check_adapters(file, lock, services)
        yield from check_parsers(file, lock, services)
        yield from check_media(file, lock, services)
        yield from check_prompts(file, lock, services)

    def latencies(self, service: ServiceSpec, release: str) -> Mapping[str, LatencyHistogram]:
        """Histograms of a server."""
        return latencies(service, release)

    def pin(self, release: str, calibration: Calibration | None, *, assumes_full: bool) -> PinnedVllm:
        """A known release, with a measurement in place of constants where there is one."""
        known = replace(RELEASES[release], assumes_full=assumes_full)
        return PinnedVllm(calibrated_release(known, calibration), () if calibration is None else calibration.speeds)

    def packages(self) -> Iterator[Packages]:
        """What pip installs of each release."""
        return map(vllm_packages, RELEASES)

    def silenced_by(self, service: ServiceSpec) -> str | None:
        """The key that turns statistics off."""
        return silenced_by(service)


ENGINE: Engine = Vllm()
