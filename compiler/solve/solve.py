"""The solver's front: a solution, or diagnostics whose every help was checked by solving again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.diagnostics.looking import LOOKING, Looking
from compiler.engines.interface.pinned import PinnedEngines, engine_of
from compiler.engines.interface.problem import Problem, Remedy
from compiler.lock.models import Lock
from compiler.lock.staleness import stale_services
from compiler.solve.replicas.alike import Solved
from compiler.solve.replicas.counts import attempt_servers, servers_compile
from compiler.solve.replicas.fewer import with_fewer
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile
from compiler.spec.rollouts import written_edits
from compiler.units import counted, largest

MAX_HELPS = 6


def solve(
    file: SpecFile, lock: Lock, engines: PinnedEngines, *, looking: Looking = LOOKING
) -> tuple[Solved | None, tuple[Diagnostic, ...]]:
    """Place the stack and size every KV cache, node by node, or say why not."""
    found = attempt_servers(file.spec, lock, engines, looking)
    if isinstance(found, Solved):
        return found, ()
    if not looking.trials:
        return None, tuple(_located(problem, file) for problem in found)
    try:
        return None, tuple(_diagnostic(problem, file, lock, engines, looking) for problem in found)
    finally:
        looking.done()


def _diagnostic(problem: Problem, file: SpecFile, lock: Lock, engines: PinnedEngines, looking: Looking) -> Diagnostic:
    problem = with_fewer(problem, file.spec, lock, engines, tried=looking.tried)
    checked, untried = _checked_helps(problem, file, lock, engines, looking)
    located = _located(problem, file)
    helps = (*checked, *_assuming(problem, file, lock, engines))
    return replace(located, notes=(*located.notes, *untried), helps=helps)


def _located(problem: Problem, file: SpecFile) -> Diagnostic:
    label = file.at("services", problem.service, *problem.path, text=problem.label)
    return Diagnostic(problem.code, problem.message, label, problem.notes)


def _assuming(problem: Problem, file: SpecFile, lock: Lock, engines: PinnedEngines) -> Iterable[Help]:
    """A flag is no change to the spec; it is offered only where the stack then compiles."""
    if problem.code != "E0307":
        return
    able = {word: engine.assuming_full() for word, engine in engines.items()}
    assuming = {word: able[word] or engine for word, engine in engines.items()}
    service = file.spec.services[problem.service]
    if engine_of(service, engines) is not engine_of(service, assuming) and servers_compile(file.spec, lock, assuming):
        yield Help("`--assume full` counts it as full attention in every layer, an upper bound of what it takes")


def _checked_helps(
    problem: Problem, file: SpecFile, lock: Lock, engines: PinnedEngines, looking: Looking
) -> tuple[list[Help], list[str]]:
    """Remedies that compile, one of each kind: the mildest, because milder ones come first; and what was not tried."""
    trials = 0

    def works(remedy: Remedy) -> bool:
        nonlocal trials
        trials += 1
        looking.tried()
        changed = edited_spec(file.document.data, remedy.edits)
        if changed is None or stale_services(changed, lock):
            return False
        return servers_compile(_keeping(file.spec, changed), lock, engines)

    helps: list[Help] = []
    kinds = _by_kind(problem.remedies)
    for index, remedies in enumerate(kinds):
        if len(helps) >= MAX_HELPS:
            break
        if trials >= looking.trials:
            return helps, [_untried(trials, kinds[index:])]
        found = _mildest(remedies, works)
        if found is not None:
            helps.append(Help(found.text, written_edits(file.document.data, found.edits)))
    return helps, []


def _keeping(spec: Spec, changed: Spec) -> Spec:
    """A changed spec, with the objects of what stayed the same: what was judged of them is known by who they are."""
    kept = {name: spec.services.get(name) for name in changed.services}
    services = {name: old if (old := kept[name]) == new else new for name, new in changed.services.items()}
    policy = spec.policy if spec.policy == changed.policy else changed.policy
    return changed.model_copy(update={"services": services, "policy": policy})


def _untried(trials: int, kinds: list[list[Remedy]]) -> str:
    """That there may be more helps, and how many trials are enough for all."""
    enough = trials + sum(map(len, kinds))
    return f"{trials} changes were tried, and {counted(len(kinds), 'kind')} not: `--trials {enough}` tries all"


def _by_kind(remedies: Iterable[Remedy]) -> list[list[Remedy]]:
    kinds: dict[str, list[Remedy]] = {}
    for remedy in remedies:
        kinds.setdefault(remedy.kind, []).append(remedy)
    return list(kinds.values())


def _mildest(remedies: list[Remedy], works: Callable[[Remedy], bool]) -> Remedy | None:
    """The first that works; of graded ones it is looked for from both ends, because asking is what takes time."""
    if not remedies[0].is_graded:
        return next((remedy for remedy in remedies if works(remedy)), None)
    severest_first = remedies[::-1]
    if not works(severest_first[0]):
        return None
    milder = largest(len(remedies) - 1, lambda steps: works(severest_first[steps]))
    return severest_first[milder]


def edited_spec(data: Any, edits: Iterable[Edit]) -> Spec | None:
    """The spec with edits applied; None if it would no longer be one."""
    try:
        return Spec.model_validate(apply_edits(data, edits))
    except ValidationError:
        return None


def apply_edits(data: Any, edits: Iterable[Edit]) -> Any:
    """A copy of a spec's plain data with values set and keys removed."""
    changed: Any = copy.deepcopy(data)
    for edit in written_edits(data, edits):
        target: Any = changed
        for part in edit.path[:-1]:
            target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
        if edit.value is None:
            target.pop(edit.path[-1], None)
        else:
            target[edit.path[-1]] = list(edit.value) if isinstance(edit.value, tuple) else edit.value
    return changed
