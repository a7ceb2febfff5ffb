"""The calibrations that a spec names, and what a spec without one is told."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from compiler.calibration.file import read_calibration
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.calibration import Calibration
from compiler.engines.interface.engine import ReleaseFacts
from compiler.engines.interface.pinned import PinnedEngine
from compiler.engines.registry import ENGINES
from compiler.source.document import MAX_BYTES
from compiler.source.text import read_source
from compiler.spec.engines import VLLM, calibration_key
from compiler.spec.reading.load import SpecFile


def naming(calibration: Calibration, path: str) -> str:
    """How a spec names the file of a calibration.

    Args:
        path: relative to the spec, as YAML has it.
    """
    if calibration.engine == VLLM:
        return f"engine: {{calibration: {path}}}"
    return f"engine: {{{calibration.engine}: {{release: {calibration.release}, calibration: {path}}}}}"


def named_calibration(
    file: SpecFile, folder: Path, engine: str, release: ReleaseFacts
) -> tuple[Calibration | None, tuple[Diagnostic, ...]]:
    """The calibration that a spec names for an engine, of its release and its cards. Paths are relative to `folder`."""
    named = file.spec.engine.calibrations.get(engine)
    if named is None:
        return None, ()
    calibration, diagnostics = _read(file, folder, engine, named)
    if calibration is None:
        return None, diagnostics
    problem = _mismatch(file, calibration, engine, release)
    if problem is None:
        return calibration, ()
    return None, (_refused(file, engine, problem),)


def unpinned_calibrations(file: SpecFile) -> tuple[Diagnostic, ...]:
    """Calibrations of engines that the spec does not pin, which would do nothing."""
    pinned = file.spec.engine.releases
    others = (engine for engine in file.spec.engine.calibrations if engine not in pinned)
    return tuple(
        _refused(file, engine, f"`{calibration_key(engine)[-1]}` is {ENGINES[engine].title}'s, which does not run here")
        for engine in others
    )


def calibration_paths(file: SpecFile, folder: Path) -> tuple[Path, ...]:
    """The files that a spec names."""
    return tuple(folder / named for named in file.spec.engine.calibrations.values())


def _refused(file: SpecFile, engine: str, message: str) -> Diagnostic:
    return Diagnostic("E0212", message, file.at(*calibration_key(engine)), helps=(_without(engine),))


def _without(engine: str) -> Help:
    return Help("take `calibration` away: intervals are wider then", (Edit(calibration_key(engine), None),))


def _read(file: SpecFile, folder: Path, engine: str, named: str) -> tuple[Calibration | None, tuple[Diagnostic, ...]]:
    label = file.at(*calibration_key(engine))
    try:
        # Where the reader of a message finds it: a spec's paths are relative to the spec.
        shown = os.path.normpath(Path(file.document.source.name).parent / named)
        source, problem = read_source(folder / named, shown, MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a path"
        return None, (_refused(file, engine, f"{named} cannot be read: {reason}"),)
    calibration, problems = (None, (problem,)) if problem is not None else read_calibration(source, named)
    note = f"named as `calibration` at {label.span}"
    return calibration, tuple(
        replace(each, notes=(*each.notes, note), helps=(*each.helps, _without(engine))) for each in problems
    )


def _mismatch(file: SpecFile, calibration: Calibration, engine: str, release: ReleaseFacts) -> str | None:
    of = f"{calibration.name} is of {ENGINES[calibration.engine].title} {calibration.release}"
    if calibration.engine != engine:
        return f"{of}, and is named for {release.title}"
    if calibration.release != release.version:
        return f"{of}, and the spec pins {release.version}"
    cards = sorted(str(node.gpus.model) for node in file.spec.nodes.values() if node.gpus is not None)
    others = [card for card in cards if card != calibration.gpu]
    if others:
        return f"{calibration.name} is of {calibration.gpu}, and a node has {others[0]}"
    if release.unmeasured is not None:
        return f"{calibration.name} is of GPUs, and {release.title} {release.version} is {release.unmeasured}"
    return None if cards else f"{calibration.name} is of {calibration.gpu}, and no node has a GPU"


def uncalibrated(file: SpecFile, pinned: PinnedEngine) -> tuple[Diagnostic, ...]:
    """A warning where overheads of another release stand in, and no calibration takes their place."""
    if pinned.stand_ins is None:
        return ()
    own = f"no start-up of {ENGINES[pinned.name].title} {pinned.version} was measured"
    message = f"{own}: overheads of {pinned.stand_ins} stand in, with wider intervals"
    help_ = Help("`stackc calibrate LOG --gpu GPU --out FILE` reads what a start-up took; name FILE as `calibration`")
    return (Diagnostic("W0201", message, file.at("engine", pinned.name), helps=(help_,)),)
