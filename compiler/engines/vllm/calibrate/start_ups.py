"""vLLM's start-up logs behind the seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.catalog.hardware.gpus import Gpu
from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.engines.common.start_ups import component_ranges
from compiler.engines.interface.calibration import Measurement, ModelConfigError, Ranges, StartUps, Unit
from compiler.engines.vllm.calibrate.components import COMPONENTS
from compiler.engines.vllm.calibrate.measure import read_start
from compiler.engines.vllm.calibrate.startup_log import is_log
from compiler.units import MIB

_ROUNDING = 6 * MIB  # vLLM prints two decimals of a GiB


@dataclass(frozen=True, slots=True)
class VllmStartUps:
    """See `compiler.engines.interface.calibration.StartUps`."""

    sign: str = "Initializing a V1 LLM engine (v…) with config"

    @property
    def components(self) -> Mapping[str, Unit]:
        """What can be measured."""
        return COMPONENTS

    def wrote(self, text: str) -> bool:
        """Whether an engine says its configuration."""
        return is_log(text)

    def measured(self, text: str, gpu: Gpu, config: Mapping[str, Any] | None) -> Measurement:
        """What a log measured."""
        try:
            return read_start(text, gpu.compute_capability, config)
        except (ConfigError, UnsupportedArchitectureError) as error:
            raise ModelConfigError(str(error)) from error

    def ranges(self, measurements: Sequence[Measurement]) -> Ranges:
        """Each component, widened by what printing rounds off."""
        return component_ranges(measurements, _margins)


def _margins(component: str) -> tuple[int, int]:
    rounding = _ROUNDING if COMPONENTS[component] is Unit.BYTES else 0
    return rounding, rounding


START_UPS: StartUps = VllmStartUps()
