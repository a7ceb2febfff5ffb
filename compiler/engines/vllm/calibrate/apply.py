"""A release's overheads with measurements in place of constants."""

from __future__ import annotations

import dataclasses
from typing import Any

from compiler.engines.interface.calibration import Calibration, Unit
from compiler.engines.vllm.calibrate.components import COMPONENTS
from compiler.engines.vllm.releases.overheads import FEW_GRAPHS, GpuOverheads, GraphOverhead, Overhead
from compiler.engines.vllm.releases.release import Release

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


def calibrated_release(release: Release, calibration: Calibration | None) -> Release:
    """The release as it was measured; as it is where nothing was, or where it is the CPU build."""
    if calibration is None or not calibration.components or release.gpu is None:
        return release
    return dataclasses.replace(release, gpu=calibrated(release.gpu, calibration))


def calibrated(overheads: GpuOverheads, calibration: Calibration) -> GpuOverheads:
    """The same overheads, where nothing was measured."""
    changes: dict[str, Any] = {"calibration": calibration.name}
    for name, (size, count) in calibration.components.items():
        starts = "one start-up" if count == 1 else f"{count} start-ups"
        source = f"{starts} on {calibration.gpu} with vLLM {calibration.release}, {calibration.name}"
        is_of_graphs = COMPONENTS[name] is Unit.PER_GRAPH
        measured = GraphOverhead(FEW_GRAPHS, size, source) if is_of_graphs else Overhead(size, source)
        changes |= dict.fromkeys(_FIELDS[name], measured)
    if "context_single" in calibration.components:
        changes["context_growth"] = None
    if "non_torch_single" in calibration.components:
        # What was measured holds the kernels' stacks.
        changes |= {"stack": (0, 0, 0), "stack_odd_vocabulary": (0, 0, 0)}
    return dataclasses.replace(overheads, **changes)
