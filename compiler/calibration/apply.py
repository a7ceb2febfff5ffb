"""A release's overheads with measurements in place of constants."""

from __future__ import annotations

import dataclasses
from typing import Any

from compiler.calibration.file import GRAPHS, Calibration
from compiler.catalog.vllm.overheads import FEW_GRAPHS, GpuOverheads, GraphOverhead, Overhead

_FIELDS = {
    "activation_ratio": ("activation_correction",),
    "context_parallel": ("context_hopper", "context_nvlink", "context_pcie"),
    "context_single": ("context_single",),
    "graphs": ("graphs", "graphs_large"),
    "graphs_shared": ("graphs_shared", "graphs_latent"),
    "non_torch_parallel": ("non_torch_nvlink", "non_torch_pcie"),
    "non_torch_pipeline": ("non_torch_pipeline",),
    "non_torch_single": ("non_torch_single",),
}


def calibrated(overheads: GpuOverheads, calibration: Calibration) -> GpuOverheads:
    """The same overheads, where nothing was measured."""
    changes: dict[str, Any] = {"calibration": calibration.name}
    for name, (size, count) in calibration.components.items():
        starts = "one start-up" if count == 1 else f"{count} start-ups"
        source = f"{starts} on {calibration.gpu} with vLLM {calibration.engine}, {calibration.name}"
        measured = GraphOverhead(FEW_GRAPHS, size, source) if name in GRAPHS else Overhead(size, source)
        changes |= dict.fromkeys(_FIELDS[name], measured)
    if "context_single" in calibration.components:
        changes["context_growth"] = None
    if "non_torch_single" in calibration.components:
        # What was measured holds the kernels' stacks.
        changes |= {"stack": (0, 0, 0), "stack_odd_vocabulary": (0, 0, 0)}
    return dataclasses.replace(overheads, **changes)
