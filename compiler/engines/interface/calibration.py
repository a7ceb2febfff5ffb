"""What start-ups of an engine measured: of one, and over several for one release on one card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from compiler.catalog.hardware.gpus import Gpu
from compiler.speed.measured import MeasuredSpeed
from compiler.units import ByteRange


class LogError(ValueError):
    """A log that holds no start-up, or contradicts itself."""


class ModelConfigError(ValueError):
    """A config.json that is beside a log and cannot be read."""


RATIO_UNIT = 1 << 20


class Unit(StrEnum):
    """What figures of a component count, as a remark in the file says it."""

    BYTES = "bytes"
    PER_GRAPH = "bytes for each captured size and layer"
    RATIO = "2^-20 of the formula"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One start-up.

    Attributes:
        version: the engine's release, as a spec pins it.
        ranks: GPUs that it ran on.
        values: by component, of each GPU that the log has a figure of.
        skipped: components that the log has figures for, and why they are not used.
    """

    version: str
    model: str
    ranks: int
    values: Mapping[str, tuple[int, ...]]
    skipped: tuple[str, ...]


Ranges = Mapping[str, tuple[ByteRange, int]]
"""By component, an interval and the number of start-ups that it rests on."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured components of one release on one card.

    Attributes:
        name: of the file, as the spec gives it.
        engine: by its key in `engine` of a spec.
        release: as a spec pins it.
        gpu: catalog name.
        components: of those that its engine has.
        speeds: what clients measured of servers.
    """

    name: str
    engine: str
    release: str
    gpu: str
    components: Ranges
    speeds: tuple[MeasuredSpeed, ...] = ()


class StartUps(Protocol):
    """What logs of an engine's starts say of memory that follows from no formula."""

    @property
    def sign(self) -> str:
        """A line that each such log has, for who gave another text."""

    @property
    def components(self) -> Mapping[str, Unit]:
        """What can be measured."""

    def wrote(self, text: str) -> bool:
        """Whether a text is a log of this engine, torn as it may be."""

    def measured(self, text: str, gpu: Gpu, config: Mapping[str, Any] | None) -> Measurement:
        """What a log of this engine measured.

        Args:
            gpu: the card that it ran on.
            config: the model's config.json; None where it is not at hand.

        Raises:
            LogError: there is no start-up in it, of a release that is known, or it contradicts itself.
            ModelConfigError: the config cannot be read.
        """

    def ranges(self, measurements: Sequence[Measurement]) -> Ranges:
        """Each component over start-ups of one release on one card."""
