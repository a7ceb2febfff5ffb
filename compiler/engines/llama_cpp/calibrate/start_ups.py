"""llama-server's start-up logs behind the seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compiler.catalog.hardware.gpus import Gpu
from compiler.engines.common.start_ups import component_ranges
from compiler.engines.interface.calibration import Measurement, Ranges, StartUps, Unit
from compiler.engines.llama_cpp.calibrate.measure import measure
from compiler.engines.llama_cpp.calibrate.startup_log import is_log, read_log
from compiler.units import MIB

_COMPONENTS: Mapping[str, Unit] = {"context_parallel": Unit.BYTES, "context_single": Unit.BYTES}
_PRINTED = MIB
_WORKSPACE = 32 * MIB
"""cuBLAS's workspace on Hopper, the largest (cuBLAS 12, cublasSetWorkspace): models whose weights are all quantized may
not have asked for it."""


@dataclass(frozen=True, slots=True)
class LlamaCppStartUps:
    """See `compiler.engines.interface.calibration.StartUps`."""

    sign: str = "llama_model_loader: loaded meta data with …"

    @property
    def components(self) -> Mapping[str, Unit]:
        """What can be measured: of servers with one card, and with several."""
        return _COMPONENTS

    def wrote(self, text: str) -> bool:
        """Whether a server says in it what it loads, or what built it."""
        return is_log(text)

    def measured(self, text: str, gpu: Gpu, config: Mapping[str, Any] | None) -> Measurement:
        """What a log measured; a GGUF file has no config.json that could add to it."""
        found = measure(read_log(text), gpu)
        return found if config is None else replace(found, skipped=("config.json: nothing that is measured needs it",))

    def ranges(self, measurements: Sequence[Measurement]) -> Ranges:
        """Each component, widened by what printing rounds off and by what another model's kernels may ask for."""
        return component_ranges(measurements, lambda _: (0, _PRINTED + _WORKSPACE))


START_UPS: StartUps = LlamaCppStartUps()
