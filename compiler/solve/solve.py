"""The solver's front: a solution, or diagnostics whose every help was checked by solving again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from compiler.catalog.releases import Release
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.vllm.kv_cache.blocks import largest
from compiler.lock.models import Lock
from compiler.lock.staleness import stale_services
from compiler.solve.budget import Solution
from compiler.solve.stack import attempt_stack, compiles
from compiler.spec.load import SpecFile
from compiler.spec.models import Spec
from compiler.spec.rollouts import written_edits

MAX_HELPS = 6
# Times that a stack is solved to find them. Time is bounded by their number and not by the clock, so that the same
# inputs have the same helps on every machine; a stack of a dozen services takes about two seconds for these.
MAX_TRIALS = 40


def solve(
    file: SpecFile, lock: Lock, release: Release, *, looks_for_helps: bool = True
) -> tuple[Mapping[str, Solution] | None, tuple[Diagnostic, ...]]:
    """Place the stack and size every KV cache, node by node, or say why not.

    Args:
        looks_for_helps: False for the reasons alone, which are there at once.
    """
    found = attempt_stack(file.spec, lock, release)
    if isinstance(found, dict):
        return found, ()
    if not looks_for_helps:
        return None, tuple(_located(problem, file) for problem in found)
    return None, tuple(_diagnostic(problem, file, lock, release) for problem in found)


def _diagnostic(problem: Problem, file: SpecFile, lock: Lock, release: Release) -> Diagnostic:
    helps = (*_checked_helps(problem, file, lock, release), *_assuming(problem, file, lock, release))
    return replace(_located(problem, file), helps=helps)


def _located(problem: Problem, file: SpecFile) -> Diagnostic:
    label = file.at("services", problem.service, *problem.path, text=problem.label)
    return Diagnostic(problem.code, problem.message, label, problem.notes)


def _assuming(problem: Problem, file: SpecFile, lock: Lock, release: Release) -> Iterable[Help]:
    """A flag is no change to the spec; it is offered only where the stack then compiles."""
    if problem.code != "E0307" or release.assumes_full:
        return
    if compiles(file.spec, lock, replace(release, assumes_full=True)):
        yield Help("`--assume full` counts it as full attention in every layer, an upper bound of what it takes")


def _checked_helps(problem: Problem, file: SpecFile, lock: Lock, release: Release) -> Iterable[Help]:
    """Remedies that compile, one of each kind: the mildest, because milder ones come first."""
    trials = 0

    def works(remedy: Remedy) -> bool:
        nonlocal trials
        trials += 1
        changed = edited_spec(file.document.data, remedy.edits)
        if changed is None or stale_services(changed, lock):
            return False
        return compiles(changed, lock, release)

    offered = 0
    for remedies in _by_kind(problem.remedies):
        if offered >= MAX_HELPS or trials >= MAX_TRIALS:
            return
        found = _mildest(remedies, works)
        if found is not None:
            offered += 1
            yield Help(found.text, written_edits(file.document.data, found.edits))


def _by_kind(remedies: Iterable[Remedy]) -> Iterable[list[Remedy]]:
    kinds: dict[str, list[Remedy]] = {}
    for remedy in remedies:
        kinds.setdefault(remedy.kind, []).append(remedy)
    return kinds.values()


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
