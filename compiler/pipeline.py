"""The order of the phases. A phase runs only if the one before it found no errors; all its findings are returned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath

from compiler.calibration.named import calibration_paths, named_calibration, uncalibrated, unpinned_calibrations
from compiler.checks.engines import check_formats
from compiler.checks.read import lock_path, read_spec
from compiler.diagnostics import Diagnostic, Help, Label, has_errors
from compiler.diagnostics.looking import LOOKING, Looking
from compiler.emit.manifest import manifest_of, with_library_manifest
from compiler.engines.interface.cache import CacheCapacity
from compiler.engines.interface.demand import Demand
from compiler.engines.interface.parsers import KnownParsers
from compiler.engines.interface.pinned import PinnedEngine, PinnedEngines, engine_of, on_cpu
from compiler.engines.registry import ENGINES
from compiler.lock.file import read_lock
from compiler.lock.models import Lock, ModelFacts
from compiler.lock.second_looks import rename_problems, surprises
from compiler.lock.staleness import Staleness, stale_services
from compiler.plan.in_clusters import check_in_clusters
from compiler.plan.ir import Plan, Verdict
from compiler.plan.lowering.gateway import idle_gateways
from compiler.plan.lowering.lower import lower_stack
from compiler.plan.objectives import check_objectives
from compiler.plan.shared_gpus import replicas_that_share
from compiler.plan.unconfirmed import unconfirmed
from compiler.render.artifact import Artifact
from compiler.render.environment import custom_templates
from compiler.render.overrides import Overrides, TemplateFault
from compiler.render.quoting import QuotingError
from compiler.solve.judgements import Judgement, judge_stack
from compiler.solve.replicas.alike import Solved
from compiler.solve.replicas.counts import for_servers
from compiler.solve.solve import solve
from compiler.spec.objectives import ObjectivesSpec
from compiler.spec.reading.load import SpecFile
from compiler.targets.compose import emit_compose
from compiler.targets.faithful import UnfaithfulError, check_overridden, check_own
from compiler.targets.gateway import emit_gateway
from compiler.targets.kubernetes import emit_kubernetes
from compiler.targets.library import emit_library
from compiler.targets.monitoring import emit_monitoring
from compiler.targets.nodes import emit_nodes
from compiler.targets.plan_json import emit_plan_json
from compiler.targets.quadlet import emit_quadlet
from compiler.targets.readme.emit import emit_readme
from compiler.targets.requirements import emit_requirements
from compiler.targets.scripts import emit_scripts
from compiler.targets.slurm import emit_slurm
from compiler.targets.systemd import emit_systemd

# Scripts are always emitted: the units and the compose file run them.
TARGETS: dict[str, Callable[[Plan], tuple[Artifact, ...]]] = {
    "systemd": emit_systemd,
    "compose": emit_compose,
    "quadlet": emit_quadlet,
    "slurm": emit_slurm,
    "kubernetes": emit_kubernetes,
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
        artifacts, problems = _render(plans, tuple(inputs.file.spec.machines), overrides, looking)
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
    plans: tuple[Plan, ...], nodes: tuple[str, ...], overrides: Overrides | None, looking: Looking
) -> tuple[tuple[Artifact, ...], tuple[Diagnostic, ...]]:
    """Every artifact, with the user's templates where there are any, and what those lose of the plan."""
    if overrides is None:
        emitted = tuple(_rendered(plans, looking))
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


def _rendered(plans: tuple[Plan, ...], looking: Looking) -> Iterator[tuple[Artifact, ...]]:
    """The artifacts of each plan, checked against it."""
    for done, plan in enumerate(plans, start=1):
        artifacts = render_plan(plan)
        check_own(plan, artifacts)
        looking.worked("rendering", done, len(plans))
        yield artifacts
    looking.done()


@dataclass(frozen=True, slots=True)
class Explained:
    """A stack and the candidates of each of its services; no plans where it does not compile.

    Attributes:
        parsers: that are known for the families that the models of each service may belong to.
        capacities: of the KV cache of each placed service that can hold more than its promise.
        models: that the lock has.
    """

    plans: tuple[Plan, ...]
    candidates: Mapping[str, tuple[Judgement, ...]]
    parsers: Mapping[str, tuple[KnownParsers, ...]]
    capacities: Mapping[str, CacheCapacity]
    models: Mapping[str, ModelFacts]


def explain_stack(
    path: Path,
    name: str,
    *,
    assumes_full: bool = False,
    looking: Looking = LOOKING,
    request: tuple[int, int] | None = None,
) -> tuple[Explained | None, tuple[Diagnostic, ...]]:
    """The same plans, with what became of every candidate; None where spec or lock cannot be used.

    Args:
        request: tokens of prompt and answer, for which speeds are told in place of those of the spec's objectives.
    """
    inputs, diagnostics = _read_inputs(path, name, assumes_full=assumes_full)
    if inputs is None:
        return None, diagnostics
    inputs = inputs if request is None else replace(inputs, file=_for_requests(inputs.file, *request))
    solved, plans, diagnostics = _solved(inputs, diagnostics, looking=looking)
    spec, lock = inputs.file.spec, inputs.lock
    parsers = {name: engine_of(s, inputs.engines).known_parsers(lock, name) for name, s in spec.services.items()}
    servers, solutions = (solved.spec, solved.solutions) if solved is not None else (spec, {})
    placed = (server.demand for solution in solutions.values() for server in solution.servers)
    held = {each.service: engine_of(servers.services[each.service], inputs.engines).capacity(each) for each in placed}
    capacities = {name: capacity for name, capacity in held.items() if capacity is not None}
    judged = judge_stack(servers, for_servers(lock, servers), inputs.engines, solutions)
    candidates = {name: judged[name] for name in spec.services}
    return Explained(plans, candidates, parsers, capacities, lock.models), diagnostics


def _for_requests(file: SpecFile, prompt: int, answer: int) -> SpecFile:
    """Every service with requests of this length, and nothing promised of their speed."""
    objectives = ObjectivesSpec(prompt_tokens=prompt, answer_tokens=answer)
    spec = file.spec
    services = {name: each.model_copy(update={"objectives": objectives}) for name, each in spec.services.items()}
    return replace(file, spec=spec.model_copy(update={"services": services}))


@dataclass(frozen=True, slots=True)
class _Inputs:
    """A spec that passed its checks, and a lock that answers it."""

    file: SpecFile
    lock: Lock
    engines: PinnedEngines
    paths: tuple[Path, ...]


def _read_inputs(
    path: Path, name: str, *, assumes_full: bool, content: bytes | None = None
) -> tuple[_Inputs | None, tuple[Diagnostic, ...]]:
    file, diagnostics = read_spec(path, name, ENGINES, content)
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
    diagnostics += tuple(check_formats(file, lock, ENGINES))
    if has_errors(diagnostics):
        return None, diagnostics
    diagnostics += tuple(_unsuitable(file, lock))
    engines, problems = _pinned(file, path.parent, assumes_full=assumes_full)
    diagnostics += problems
    paths = (path, locked, *calibration_paths(file, path.parent))
    return (None if has_errors(diagnostics) else _Inputs(file, lock, engines, paths)), diagnostics


def _pinned(
    file: SpecFile, folder: Path, *, assumes_full: bool
) -> tuple[dict[str, PinnedEngine], tuple[Diagnostic, ...]]:
    """The releases that the spec pins, and what is wrong with the calibrations that it names."""
    engines: dict[str, PinnedEngine] = {}
    diagnostics = unpinned_calibrations(file)
    for name, version in file.spec.engine.releases.items():
        engine = ENGINES[name]
        calibration, problems = named_calibration(file, folder, name, engine.releases[version])
        diagnostics += problems
        engines[name] = engine.pin(version, calibration, assumes_full=assumes_full)
    for name, version in file.spec.engine.cpu_releases.items():
        engines[on_cpu(name)] = ENGINES[name].pin(version, None, assumes_full=assumes_full)
    return engines, diagnostics


def _uncalibrated(inputs: _Inputs) -> Iterator[Diagnostic]:
    for pinned in inputs.engines.values():
        yield from uncalibrated(inputs.file, pinned)


def _unsuitable(file: SpecFile, lock: Lock) -> Iterator[Diagnostic]:
    """What each engine finds wrong with its services, given their models."""
    for name in file.spec.engine.releases:
        services = [service for service, spec in file.spec.services.items() if spec.engine == name]
        yield from ENGINES[name].check_models(file, lock, services)


def _plan(
    inputs: _Inputs, diagnostics: tuple[Diagnostic, ...], *, looking: Looking
) -> tuple[tuple[Plan, ...], tuple[Diagnostic, ...]]:
    _, plans, diagnostics = _solved(inputs, diagnostics, looking=looking)
    return plans, diagnostics


def _solved(
    inputs: _Inputs, diagnostics: tuple[Diagnostic, ...], *, looking: Looking
) -> tuple[Solved | None, tuple[Plan, ...], tuple[Diagnostic, ...]]:
    """The solution of every server and each node's plan; none of either where there is an error."""
    solved, problems = solve(inputs.file, inputs.lock, inputs.engines, looking=looking)
    diagnostics += problems
    if solved is None:
        return None, (), diagnostics
    diagnostics += tuple(idle_gateways(inputs.file, solved.solutions))
    if has_errors(diagnostics):
        return None, (), diagnostics
    file = replace(inputs.file, spec=solved.spec)
    plans = lower_stack(file, solved.solutions, inputs.engines, inputs.lock.images)
    warnings = (*_uncalibrated(inputs), *unconfirmed(file, plans))
    served = _one_of_each(solved)
    models = ((demand.service, demand.variant.name, demand.variant.facts) for demand in served)
    warnings += (*surprises(models, inputs.file.document.value), *_conditions(inputs, served))
    engines, services = inputs.engines, solved.spec.services
    remarks = (engine_of(services[demand.service], engines).remarks(file, demand) for demand in served)
    speeds = (*check_objectives(file, solved.solutions, inputs.engines, plans), *check_in_clusters(file, plans))
    sharing = replicas_that_share(file, plans)
    found = (*diagnostics, *warnings, *chain.from_iterable(remarks), *sharing, *speeds)
    return (None, (), found) if has_errors(found) else (solved, plans, found)


def _one_of_each(solved: Solved) -> list[Demand]:
    """What each service demands, of its first server: of the others the same would be told."""
    servers = chain.from_iterable(solution.servers for solution in solved.solutions.values())
    # One that spans machines is in the solution of each.
    served = {server.demand.service: server.demand for server in servers}.values()
    return [demand for demand in served if solved.spec.replica_of(demand.service) is None]


def _conditions(inputs: _Inputs, served: Iterable[Demand]) -> Iterator[Diagnostic]:
    """What licences demand, where the policy asks."""
    if not inputs.file.spec.policy.commercial:
        return
    # Read only here: most stacks ask for no registry of models.
    from compiler.solve.commercial import conditions  # noqa: PLC0415

    adapted = [(demand.service, (demand.variant.name, *(a.key for a in demand.variant.adapters))) for demand in served]
    names = ((service, name) for service, loaded in adapted for name in loaded)
    yield from conditions(inputs.file, inputs.lock.models, names)


def _stale(staleness: Staleness, file: SpecFile) -> Diagnostic:
    help_ = Help(f"`stackc lock {file.document.source.name}` repairs the lock")
    name = staleness.service
    if staleness.field == "extra":
        message = f"the lock has service `{name}`, which the spec has not"
        return Diagnostic("E0302", message, file.at_key("services"), helps=(help_,))
    if staleness.field == "missing":
        message = f"the lock has no service `{name}`"
        return Diagnostic("E0302", message, file.at_key("services", name), helps=(help_,))
    other = "other adapters" if staleness.field == "adapters" else f"another {staleness.field}"
    message = f"the lock of service `{name}` answers {other}"
    notes = (f"the spec asks {staleness.asked or 'nothing'}, the lock answers {staleness.answered or 'nothing'}",)
    return Diagnostic("E0302", message, _stale_place(staleness, file), notes, (help_,))


def _stale_place(staleness: Staleness, file: SpecFile) -> Label:
    match staleness.field:
        case "publishers":
            return file.at("policy", "publishers")
        case "draft":
            return file.at("services", staleness.service, "speculate")
        case field:
            return file.at("services", staleness.service, field)


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
    packages = chain.from_iterable(engine.packages() for engine in ENGINES.values())
    library = (*emit_requirements(packages), *emit_library())
    return with_library_manifest((*emitted, *library, emit_plan_json(plan)))
