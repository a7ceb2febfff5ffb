"""The calibration that a spec names, and what a spec without one is told."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from compiler.calibration.apply import calibrated
from compiler.calibration.file import Calibration, read_calibration
from compiler.catalog.vllm.releases import Release
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.source.document import MAX_BYTES
from compiler.source.text import read_source
from compiler.spec.load import SpecFile

_WITHOUT = Help("take `calibration` away: intervals are wider then", (Edit(("engine", "calibration"), None),))


def calibrated_release(file: SpecFile, folder: Path, release: Release) -> tuple[Release, tuple[Diagnostic, ...]]:
    """The release as it was measured on the spec's cards. Paths in a spec are relative to its folder."""
    named = file.spec.engine.calibration
    if named is None:
        return release, ()
    calibration, diagnostics = _read(file, folder, named)
    if calibration is None:
        return release, diagnostics
    problem = _mismatch(file, calibration, release)
    if problem is not None or release.gpu is None:
        message = problem or f"{named} is of GPUs, and vLLM {release.version} is the CPU build"
        return release, (Diagnostic("E0212", message, file.at("engine", "calibration"), helps=(_WITHOUT,)),)
    return replace(release, gpu=calibrated(release.gpu, calibration)), ()


def calibration_paths(file: SpecFile, folder: Path) -> tuple[Path, ...]:
    """The file that a spec names, if it does."""
    named = file.spec.engine.calibration
    return () if named is None else (folder / named,)


def _read(file: SpecFile, folder: Path, named: str) -> tuple[Calibration | None, tuple[Diagnostic, ...]]:
    label = file.at("engine", "calibration")
    try:
        # Where the reader of a message finds it: a spec's paths are relative to the spec.
        shown = os.path.normpath(Path(file.document.source.name).parent / named)
        source, problem = read_source(folder / named, shown, MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a path"
        return None, (Diagnostic("E0212", f"{named} cannot be read: {reason}", label, helps=(_WITHOUT,)),)
    calibration, problems = (None, (problem,)) if problem is not None else read_calibration(source, named)
    note = f"named as `calibration` at {label.span}"
    return calibration, tuple(
        replace(each, notes=(*each.notes, note), helps=(*each.helps, _WITHOUT)) for each in problems
    )


def _mismatch(file: SpecFile, calibration: Calibration, release: Release) -> str | None:
    if calibration.engine != release.version:
        return f"{calibration.name} is of vLLM {calibration.engine}, and the spec pins {release.version}"
    cards = sorted(str(node.gpus.model) for node in file.spec.nodes.values() if node.gpus is not None)
    others = [card for card in cards if card != calibration.gpu]
    return f"{calibration.name} is of {calibration.gpu}, and a node has {others[0]}" if others else None


def uncalibrated(file: SpecFile, release: Release) -> tuple[Diagnostic, ...]:
    """A warning where the release's overheads were measured on another release."""
    if release.gpu is None or release.gpu.calibration:
        return ()
    message = (
        f"no start-up of vLLM {release.version} was measured: overheads of 0.19 to 0.31 stand in, with wider intervals"
    )
    help_ = Help("`stackc calibrate LOG --gpu GPU --out FILE` reads what a start-up took; name FILE as `calibration`")
    return (Diagnostic("W0201", message, file.at("engine", "vllm"), helps=(help_,)),)
