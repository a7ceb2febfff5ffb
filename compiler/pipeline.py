"""The order of the phases. A phase runs only if the one before it found no errors; all its findings are returned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath

from compiler.calibration.named import calibrated_release, calibration_paths, uncalibrated
from compiler.catalog.vllm.releases import RELEASES, Release
from compiler.checks.read import lock_path, read_spec
from compiler.diagnostics import Diagnostic, Help, Label, has_errors
from compiler.diagnostics.looking import LOOKING, Looking
from compiler.emit.manifest import manifest_of, with_library_manifest
from compiler.engines.vllm.answers.media import check_media
from compiler.engines.vllm.answers.parsers import KnownParsers, check_parsers, known_parsers
from compiler.engines.vllm.answers.tasks import check_prompts
from compiler.engines.vllm.demand import Demand
from compiler.engines.vllm.judge.remote_code import code_is_unread, code_needed
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.lock.file import read_lock
from compiler.lock.models import Lock
from compiler.lock.second_looks import pickle_warnings, rename_problems
from compiler.lock.staleness import Staleness, stale_services
from compiler.plan.ir import Plan, Verdict
from compiler.plan.lower import lower_stack
from compiler.plan.unconfirmed import unconfirmed
from compiler.render.artifact import Artifact
from compiler.render.environment import custom_templates
from compiler.render.overrides import Overrides, TemplateFault
from compiler.render.quoting import QuotingError
from compiler.solve.budget import Solution
from compiler.solve.judgements import Judgement, judge_stack
from compiler.solve.solve import solve
from compiler.spec.load import SpecFile
from compiler.targets.compose import emit_compose
from compiler.targets.faithful import UnfaithfulError, check_overridden, check_own
from compiler.targets.gateway import emit_gateway
from compiler.targets.library import emit_library
from compiler.targets.monitoring import emit_monitoring
from compiler.targets.nodes import emit_nodes
from compiler.targets.plan_json import emit_plan_json
from compiler.targets.quadlet import emit_quadlet
from compiler.targets.readme.emit import emit_readme
from compiler.targets.requirements import emit_requirements
from compiler.targets.scripts import emit_scripts
from compiler.targets.systemd import emit_systemd

# Scripts are always emitted: the units and the compose file run them.
TARGETS: dict[str, Callable[[Plan], tuple[Artifact, ...]]] = {
    "systemd": emit_systemd,
    "compose": emit_compose,
    "quadlet": emit_quadlet,
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A stack that compiled: the plan of each node that has services, and every file to emit.

    Attributes:
        inputs: the files that it was compiled from.
    """

    plans: tuple[Plan, ...]
    artifacts: tuple[Artifact, ...]
    inputs: tuple[Path, ...]

    @property
    def plan(self) -> Plan:
        """Of a stack with one node."""
        (plan,) = self.plans
        return plan

    @property
    def stack(self) -> str:
        """Its name."""
        return self.plans[0].stack

    @property
    def verdict(self) -> Verdict:
        """Of its worst node."""
        verdicts = [plan.verdict for plan in self.plans]
        return next((verdict for verdict in verdicts if verdict is not Verdict.FITS), Verdict.FITS)


def compile_stack(
    path: Path,
    name: str,
    *,
    assumes_full: bool = False,
    overrides: Overrides | None = None,
    looking: Looking = LOOKING,
    content: bytes | None = None,
) -> tuple[Compiled | None, tuple[Diagnostic, ...]]:
    """From a spec and the lock beside it to artifacts; nothing is written.

    Args:
        assumes_full: an architecture without formulas is taken for full attention in every layer.
        overrides: templates of the user's, in place of those of stackc.
        looking: for changes that would make an infeasible stack fit.
        content: of the spec as an editor holds it, in place of the file's bytes.
    """
    inputs, diagnostics = _read_inputs(path, name, assumes_full=assumes_full, content=content)
    if inputs is None:
        return None, diagnostics
    plans, diagnostics = _plan(inputs, diagnostics, looking=looking)
    if not plans:
        return None, diagnostics
    try:
        artifacts, problems = _render(plans, tuple(inputs.file.spec.nodes), overrides)
    except (QuotingError, UnfaithfulError) as error:
        return None, (*diagnostics, _unwritable(inputs.file, plans, error))
    diagnostics += problems
    return (None if has_errors(diagnostics) else Compiled(plans, artifacts, inputs.paths)), diagnostics


def _unwritable(file: SpecFile, plans: tuple[Plan, ...], error: Exception) -> Diagnostic:
    """A word that some file cannot hold as it is; nothing is written, and the models' names are looked at first."""
    services = [service for plan in plans for service in plan.services]
    odd = next((one for one in services if not _PLAIN_NAME.fullmatch(str(one.model.repository or ""))), None)
    where = file.at("services", odd.name, "model") if odd is not None else file.at("stack")
    helps = (Help("rename what has such a name; `stackc lock` writes the lock anew"),)
    message = "a name or a value cannot be written as it is into the files of this stack"
    return Diagnostic("E0316", message, where, (str(error)[:300],), helps)


# What the Hub allows in the name of a repository.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_./-]*", re.ASCII)


def _render(
    plans: tuple[Plan, ...], nodes: tuple[str, ...], overrides: Overrides | None
) -> tuple[tuple[Artifact, ...], tuple[Diagnostic, ...]]:
    """Every artifact, with the user's templates where there are any, and what those lose of the plan."""
    if overrides is None:
        emitted = tuple(render_plan(plan) for plan in plans)
        for plan, artifacts in zip(plans, emitted, strict=True):
            check_own(plan, artifacts)
        return gather(plans, emitted, nodes), ()
    plans = tuple(replace(plan, templates=overrides.digests) for plan in plans)
    own = tuple(render_plan(plan) for plan in plans)
    try:
        with custom_templates(overrides):
            emitted = tuple(render_plan(plan) for plan in plans)
            gathered = gather(plans, emitted, nodes)
    except TemplateFault as fault:
        return (), (fault.diagnostic,)
    lost = (check_overridden(*each, overrides) for each in zip(plans, emitted, own, strict=True))
    return gathered, tuple(chain.from_iterable(lost))


@dataclass(frozen=True, slots=True)
class Explained:
    """A stack and the candidates of each of its services; no plans where it does not compile.

    Attributes:
        parsers: that are known for the families that the models of each service may belong to.
        layouts: of each placed service's KV cache, that of its ranks with the largest blocks.
    """

    plans: tuple[Plan, ...]
    candidates: Mapping[str, tuple[Judgement, ...]]
    parsers: Mapping[str, tuple[KnownParsers, ...]]
    layouts: Mapping[str, KvLayout]


def explain_stack(
    path: Path, name: str, *, assumes_full: bool = False, looking: Looking = LOOKING
) -> tuple[Explained | None, tuple[Diagnostic, ...]]:
    """The same plans, with what became of every candidate; None where spec or lock cannot be used."""
    inputs, diagnostics = _read_inputs(path, name, assumes_full=assumes_full)
    if inputs is None:
        return None, diagnostics
    solutions, plans, diagnostics = _solved(inputs, diagnostics, looking=looking)
    spec, lock = inputs.file.spec, inputs.lock
    parsers = {name: known_parsers(lock, name, inputs.release.version) for name in spec.services}
    placed = (server.demand for solution in solutions.values() for server in solution.servers)
    layouts = {demand.service: demand.layout for demand in placed}
    return Explained(plans, judge_stack(spec, lock, inputs.release, solutions), parsers, layouts), diagnostics


@dataclass(frozen=True, slots=True)
class _Inputs:
    """A spec that passed its checks, and a lock that answers it."""

    file: SpecFile
    lock: Lock
    release: Release
    paths: tuple[Path, ...]


def _read_inputs(
    path: Path, name: str, *, assumes_full: bool, content: bytes | None = None
) -> tuple[_Inputs | None, tuple[Diagnostic, ...]]:
    file, diagnostics = read_spec(path, name, content)
    if file is None:
        return None, diagnostics
    locked = lock_path(path)
    lock, problems = read_lock(locked, str(Path(name).with_name(locked.name)))
    diagnostics += problems
    if lock is None:
        return None, diagnostics
    diagnostics += tuple(_stale(staleness, file) for staleness in stale_services(file.spec, lock))
    diagnostics += tuple(rename_problems(file.spec, lock, file.document.value))
    if has_errors(diagnostics):
        return None, diagnostics
    diagnostics += (*check_parsers(file, lock), *check_media(file, lock), *check_prompts(file, lock))
    release, problems = calibrated_release(file, path.parent, RELEASES[file.spec.engine.vllm])
    diagnostics += problems
    release = replace(release, assumes_full=assumes_full)
    paths = (path, locked, *calibration_paths(file, path.parent))
    return (None if has_errors(diagnostics) else _Inputs(file, lock, release, paths)), diagnostics


def _plan(
    inputs: _Inputs, diagnostics: tuple[Diagnostic, ...], *, looking: Looking
) -> tuple[tuple[Plan, ...], tuple[Diagnostic, ...]]:
    _, plans, diagnostics = _solved(inputs, diagnostics, looking=looking)
    return plans, diagnostics


def _solved(
    inputs: _Inputs, diagnostics: tuple[Diagnostic, ...], *, looking: Looking
) -> tuple[Mapping[str, Solution], tuple[Plan, ...], tuple[Diagnostic, ...]]:
    """The solution of each node and its plan; none of either where there is an error."""
    solutions, problems = solve(inputs.file, inputs.lock, inputs.release, looking=looking)
    diagnostics += problems
    if solutions is None:
        return {}, (), diagnostics
    plans = lower_stack(inputs.file, solutions, inputs.release, inputs.lock.images)
    warnings = (*uncalibrated(inputs.file, inputs.release), *unconfirmed(inputs.file, plans))
    served = [server.demand for solution in solutions.values() for server in solution.servers]
    models = ((demand.service, demand.variant.name, demand.variant.facts) for demand in served)
    warnings += tuple(pickle_warnings(models, inputs.file.document.value))
    warnings += tuple(_unread_code(inputs, served))
    return solutions, plans, (*diagnostics, *warnings, *_assumed(inputs.file, solutions.values()))


def _unread_code(inputs: _Inputs, served: Iterable[Demand]) -> Iterator[Diagnostic]:
    """W0306: servers without `--trust-remote-code`, where the lock is too old to say what a tokenizer needs."""
    for demand in served:
        spec, facts = inputs.file.spec.services[demand.service], demand.variant.facts
        if code_is_unread(facts) and code_needed(spec, facts, inputs.release) is None:
            message = f"the lock does not say whether the tokenizer of `{demand.variant.name}` needs code"
            notes = ("its configuration and its class need none, so the server runs none; a tokenizer may still ask",)
            help_ = Help(f"`stackc lock --upgrade {inputs.file.document.source.name}` looks")
            where = inputs.file.at("services", demand.service, "model")
            yield Diagnostic("W0306", message, where, notes, (help_,))


def _assumed(file: SpecFile, solutions: Iterable[Solution]) -> Iterator[Diagnostic]:
    """Which models are counted by an upper bound, because nobody wrote formulas for them."""
    for server in (server for solution in solutions for server in solution.servers):
        architecture, service = server.demand.variant.architecture, server.demand.service
        if architecture.assumed:
            message = f"`{server.demand.variant.name}` is counted as full attention in every layer: {architecture.name}"
            note = "stackc has no formulas for it; weights and KV cache are an upper bound, and the rest an estimate"
            yield Diagnostic("W0302", message, file.at("services", service, "model"), (note,))


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


def gather(
    plans: tuple[Plan, ...], emitted: tuple[tuple[Artifact, ...], ...], nodes: tuple[str, ...]
) -> tuple[Artifact, ...]:
    """The tree of a stack: of one node as it is, of several in a folder for each, which is copied alone."""
    if len(nodes) == 1:
        return emitted[0]
    artifacts = list(emit_nodes(plans, nodes))
    for plan, of_node in zip(plans, emitted, strict=True):
        tree = (*of_node, manifest_of(of_node))
        artifacts += (replace(one, path=PurePosixPath(plan.folder) / one.path) for one in tree)
    return tuple(artifacts)


def render_plan(plan: Plan) -> tuple[Artifact, ...]:
    """Every artifact of one node's plan, in a tree that needs nothing beside it."""
    chosen = [emit for target, emit in TARGETS.items() if target in plan.targets]
    emitters = (emit_scripts, emit_gateway, *chosen, emit_monitoring, emit_readme)
    emitted = [artifact for emit in emitters for artifact in emit(plan)]
    library = (*emit_requirements(), *emit_library())
    return with_library_manifest((*emitted, *library, emit_plan_json(plan)))
