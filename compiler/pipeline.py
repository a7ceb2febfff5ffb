"""The order of the phases. A phase runs only if the one before it found no errors; all its findings are returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.calibration.named import calibrated_release, uncalibrated
from compiler.catalog.releases import RELEASES, Release
from compiler.diagnostics import Diagnostic, Help, Label, has_errors
from compiler.lock.file import read_lock
from compiler.lock.models import Lock
from compiler.lock.staleness import Staleness, stale_services
from compiler.plan.ir import Plan
from compiler.plan.lower import lower_plan
from compiler.render.artifact import Artifact
from compiler.solve.budget import Solution
from compiler.solve.judgements import Judgement, judge_stack
from compiler.solve.parsers import KnownParsers, check_parsers, known_parsers
from compiler.solve.solve import solve
from compiler.spec.load import SpecFile
from compiler.spec.read import lock_path, read_spec
from compiler.targets.compose import emit_compose
from compiler.targets.plan_json import emit_plan_json
from compiler.targets.readme import emit_readme
from compiler.targets.scripts import emit_scripts
from compiler.targets.systemd import emit_systemd

# Scripts are always emitted: the units and the compose file run them.
TARGETS: dict[str, Callable[[Plan], tuple[Artifact, ...]]] = {"systemd": emit_systemd, "compose": emit_compose}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A stack that compiled: its plan and every file to emit."""

    plan: Plan
    artifacts: tuple[Artifact, ...]


def compile_stack(
    path: Path, name: str, *, assumes_full: bool = False
) -> tuple[Compiled | None, tuple[Diagnostic, ...]]:
    """From a spec and the lock beside it to artifacts; nothing is written.

    Args:
        assumes_full: an architecture without formulas is taken for full attention in every layer.
    """
    plan, diagnostics = plan_stack(path, name, assumes_full=assumes_full)
    if plan is None:
        return None, diagnostics
    return Compiled(plan, render_plan(plan)), diagnostics


def plan_stack(path: Path, name: str, *, assumes_full: bool = False) -> tuple[Plan | None, tuple[Diagnostic, ...]]:
    """From a spec and the lock beside it to the plan."""
    inputs, diagnostics = _read_inputs(path, name, assumes_full=assumes_full)
    return (None, diagnostics) if inputs is None else _plan(inputs, diagnostics)


@dataclass(frozen=True, slots=True)
class Explained:
    """A stack and the candidates of each of its services; `plan` is None where it does not compile.

    Attributes:
        parsers: that are known for the families that the models of each service may belong to.
    """

    plan: Plan | None
    candidates: Mapping[str, tuple[Judgement, ...]]
    parsers: Mapping[str, tuple[KnownParsers, ...]]


def explain_stack(
    path: Path, name: str, *, assumes_full: bool = False
) -> tuple[Explained | None, tuple[Diagnostic, ...]]:
    """Like `plan_stack`, with what became of every candidate; None where spec or lock cannot be used."""
    inputs, diagnostics = _read_inputs(path, name, assumes_full=assumes_full)
    if inputs is None:
        return None, diagnostics
    plan, diagnostics = _plan(inputs, diagnostics)
    spec, lock = inputs.file.spec, inputs.lock
    parsers = {name: known_parsers(lock, name, inputs.release.version) for name in spec.services}
    return Explained(plan, judge_stack(spec, lock, inputs.release), parsers), diagnostics


@dataclass(frozen=True, slots=True)
class _Inputs:
    """A spec that passed its checks, and a lock that answers it."""

    file: SpecFile
    lock: Lock
    release: Release


def _read_inputs(path: Path, name: str, *, assumes_full: bool) -> tuple[_Inputs | None, tuple[Diagnostic, ...]]:
    file, diagnostics = read_spec(path, name)
    if file is None:
        return None, diagnostics
    locked = lock_path(path)
    lock, problems = read_lock(locked, str(Path(name).with_name(locked.name)))
    diagnostics += problems
    if lock is None:
        return None, diagnostics
    diagnostics += tuple(_stale(staleness, file) for staleness in stale_services(file.spec, lock))
    if has_errors(diagnostics):
        return None, diagnostics
    diagnostics += tuple(check_parsers(file, lock))
    release, problems = calibrated_release(file, path.parent, RELEASES[file.spec.engine.vllm])
    diagnostics += problems
    release = replace(release, assumes_full=assumes_full)
    return (None if has_errors(diagnostics) else _Inputs(file, lock, release)), diagnostics


def _plan(inputs: _Inputs, diagnostics: tuple[Diagnostic, ...]) -> tuple[Plan | None, tuple[Diagnostic, ...]]:
    solution, problems = solve(inputs.file, inputs.lock, inputs.release)
    diagnostics += problems
    if solution is None:
        return None, diagnostics
    plan = lower_plan(inputs.file, solution, inputs.release)
    warnings = (*uncalibrated(inputs.file, inputs.release), *_warnings(inputs.file, plan))
    return plan, (*diagnostics, *warnings, *_assumed(inputs.file, solution))


def _assumed(file: SpecFile, solution: Solution) -> Iterator[Diagnostic]:
    """Which models are counted by an upper bound, because nobody wrote formulas for them."""
    for server in solution.servers:
        architecture, service = server.demand.variant.architecture, server.demand.service
        if architecture.assumed:
            message = f"`{server.demand.variant.name}` is counted as full attention in every layer: {architecture.name}"
            note = "stackc has no formulas for it; weights and KV cache are an upper bound, and the rest an estimate"
            yield Diagnostic("W0302", message, file.at("services", service, "model"), (note,))


def _warnings(file: SpecFile, plan: Plan) -> tuple[Diagnostic, ...]:
    """What is not exact in a plan that nevertheless stands."""
    found = []
    for service in plan.services:
        if service.model.unconfirmed:
            facts = ", ".join(service.model.unconfirmed)
            message = f"not confirmed for `{service.model.repository or service.model.folder}`: {facts}"
            help_ = Help(f"`stackc lock {file.document.source.name}` reads them from the Hub")
            found.append(Diagnostic("W0301", message, file.at("services", service.name, "model"), helps=(help_,)))
    return tuple(found)


def _stale(staleness: Staleness, file: SpecFile) -> Diagnostic:
    help_ = Help(f"`stackc lock {file.document.source.name}` repairs the lock")
    name = staleness.service
    if staleness.field == "extra":
        message = f"the lock has service `{name}`, which the spec has not"
        return Diagnostic("E0302", message, file.at_key("services"), helps=(help_,))
    if staleness.field == "missing":
        message = f"the lock has no service `{name}`"
        return Diagnostic("E0302", message, file.at_key("services", name), helps=(help_,))
    message = f"the lock of service `{name}` answers another {staleness.field}"
    notes = (f"the spec asks {staleness.asked or 'nothing'}, the lock answers {staleness.answered or 'nothing'}",)
    label: Label = (
        file.at("policy", "publishers")
        if staleness.field == "publishers"
        else file.at("services", name, staleness.field)
    )
    return Diagnostic("E0302", message, label, notes, (help_,))


def render_plan(plan: Plan) -> tuple[Artifact, ...]:
    """Every artifact of a plan."""
    chosen = [emit for target, emit in TARGETS.items() if target in plan.targets]
    emitted = [artifact for emit in (emit_scripts, *chosen, emit_readme) for artifact in emit(plan)]
    return (*emitted, emit_plan_json(plan))
