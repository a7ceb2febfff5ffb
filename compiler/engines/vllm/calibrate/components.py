"""What of vLLM's memory start-ups can measure."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.engines.interface.calibration import Unit

RATIO = "activation_ratio"
COMPONENTS: Mapping[str, Unit] = {
    RATIO: Unit.RATIO,
    "context_parallel": Unit.BYTES,
    "context_single": Unit.BYTES,
    "graphs": Unit.PER_GRAPH,
    "graphs_shared": Unit.PER_GRAPH,
    "non_torch_parallel": Unit.BYTES,
    "non_torch_pipeline": Unit.BYTES,
    "non_torch_single": Unit.BYTES,
}
