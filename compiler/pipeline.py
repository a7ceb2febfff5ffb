"""The order of the phases. A phase runs only if the one before it found no errors; all its findings are returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compiler.catalog.releases import RELEASES, Release
from compiler.diagnostics import Diagnostic, Help, Label, SourceText, has_errors
from compiler.lock.file import read_lock
from compiler.lock.models import Lock
from compiler.lock.staleness import Staleness, stale_services
from compiler.plan.ir import Plan
from compiler.plan.lower import lower_plan
from compiler.render.artifact import Artifact
from compiler.solve.solve import solve
from compiler.spec.checks import check_spec
from compiler.spec.load import SpecFile, load_spec
from compiler.targets.compose import emit_compose
from compiler.targets.plan_json import emit_plan_json
from compiler.targets.readme import emit_readme
from compiler.targets.scripts import emit_scripts
from compiler.targets.systemd import emit_systemd

LOCK_SUFFIX = ".lock.yaml"

# Scripts are always emitted: the units and the compose file run them.
TARGETS: dict[str, Callable[[Plan], tuple[Artifact, ...]]] = {"systemd": emit_systemd, "compose": emit_compose}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A stack that compiled: its plan and every file to emit."""

    plan: Plan
    artifacts: tuple[Artifact, ...]


def lock_path(spec_path: Path) -> Path:
    """Where the lock of a spec lies."""
    return spec_path.with_name(spec_path.stem + LOCK_SUFFIX)


def read_spec(path: Path, name: str) -> tuple[SpecFile | None, tuple[Diagnostic, ...]]:
    """Load and check.

    Args:
        path: of the spec.
        name: what diagnostics call it.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return None, (Diagnostic("E0101", f"{name} is not UTF-8 text: byte {error.start}"),)
    file, problems = load_spec(SourceText(name, text))
    if file is None:
        return None, problems
    problems = check_spec(file)
    return (None if has_errors(problems) else file), problems


def compile_stack(path: Path, name: str) -> tuple[Compiled | None, tuple[Diagnostic, ...]]:
    """From a spec and the lock beside it to artifacts; nothing is written."""
    plan, diagnostics = plan_stack(path, name)
    if plan is None:
        return None, diagnostics
    return Compiled(plan, render_plan(plan)), diagnostics


def plan_stack(path: Path, name: str) -> tuple[Plan | None, tuple[Diagnostic, ...]]:
    """From a spec and the lock beside it to the plan."""
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
    return _plan(file, lock, RELEASES[file.spec.engine.vllm], diagnostics)


def _plan(
    file: SpecFile, lock: Lock, release: Release, diagnostics: tuple[Diagnostic, ...]
) -> tuple[Plan | None, tuple[Diagnostic, ...]]:
    solution, problems = solve(file, lock, release)
    diagnostics += problems
    if solution is None:
        return None, diagnostics
    plan = lower_plan(file, solution, release)
    return plan, (*diagnostics, *_warnings(file, plan))


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
