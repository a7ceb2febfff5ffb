"""A release with measurements in place of the estimate."""

from __future__ import annotations

from dataclasses import replace

from compiler.engines.interface.calibration import Calibration
from compiler.engines.llama_cpp.releases.rules import ContextMemory, Release
from compiler.units import counted


def calibrated(release: Release, calibration: Calibration | None) -> Release:
    """The release as it was measured; as it is where nothing was."""
    if calibration is None:
        return release
    source = f"on {calibration.gpu} with llama.cpp {calibration.release}, {calibration.name}"
    measured = {
        name: ContextMemory(size, f"{counted(count, 'start-up')} {source}")
        for name, (size, count) in calibration.components.items()
    }
    return replace(release, **measured)  # type: ignore[arg-type]  # components are named as its fields
