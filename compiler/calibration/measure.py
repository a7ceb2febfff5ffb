"""Start-up logs of whichever engine, and measured speeds, to one calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.calibration.bench import Benched
from compiler.calibration.file import read_calibration, write_calibration
from compiler.catalog.hardware.gpus import Gpu
from compiler.diagnostics import SourceText
from compiler.engines.interface.calibration import Calibration, LogError, Measurement
from compiler.engines.registry import ENGINES


@dataclass(frozen=True, slots=True)
class Start:
    """What one start measured.

    Attributes:
        engine: whose it was, by its key in `engine` of a spec.
    """

    engine: str
    measurement: Measurement


def read_start(text: str, gpu: Gpu, config: Mapping[str, Any] | None) -> Start:
    """What a log measured.

    Args:
        gpu: the card that it ran on.
        config: the model's config.json; None where it is not at hand.

    Raises:
        LogError: it is no engine's, holds no start-up of a release that is known, or contradicts itself.
        ModelConfigError: the config cannot be read.
    """
    for name, engine in ENGINES.items():
        if engine.start_ups.wrote(text):
            return Start(name, engine.start_ups.measured(text, gpu, config))
    signs = ", ".join(f"no line `{engine.start_ups.sign}` of {engine.title}'s" for engine in ENGINES.values())
    raise LogError(f"it is no engine's: {signs}")


def calibration_of(starts: Sequence[Start], gpu: Gpu, name: str, speeds: Sequence[Benched] = ()) -> Calibration:
    """One calibration of start-ups and speeds on one card, at least one of either.

    Raises:
        LogError: they are of several engines, releases or cards, or hold nothing that a calibration could use.
    """
    beside = " and speeds" if speeds else ""
    engine = _only({start.engine for start in starts} | {each.engine for each in speeds}, "engines", beside)
    release = _only(
        {start.measurement.version for start in starts} | {each.release for each in speeds}, "releases", beside
    )
    for other in speeds:
        if gpu.title != other.title:
            raise LogError(f"the speed of {other.speed.service} is of {other.title}, and {gpu.name} is {gpu.title}")
    components = ENGINES[engine].start_ups.ranges([start.measurement for start in starts])
    if starts and not components:
        raise LogError("the logs hold no figure that a calibration could use")
    measured = tuple(each.speed for each in speeds)
    calibration = Calibration(name, engine, release, gpu.name, components, measured)
    if read_calibration(SourceText("", text_of(calibration, starts)))[0] is None:  # what is written must be of use
        raise LogError("the logs hold figures that no card could have")
    return calibration


def text_of(calibration: Calibration, starts: Sequence[Start]) -> str:
    """Its file; the same for the same start-ups."""
    models = {start.measurement.model for start in starts} | {one.served.model for one in calibration.speeds}
    return write_calibration(calibration, tuple(sorted(models)))


def _only(found: set[str], what: str, beside: str) -> str:
    if len(found) > 1:
        raise LogError(f"the logs{beside} are of several {what}: {', '.join(sorted(found))}")
    return found.pop()
