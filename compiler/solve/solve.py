"""The solver's front: a solution, or diagnostics whose every help was checked by solving again."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from compiler.catalog.releases import Release
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.lock.models import Lock
from compiler.lock.staleness import stale_services
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.solve.problem import Problem
from compiler.spec.load import SpecFile
from compiler.spec.models import Spec

MAX_HELPS = 4


def solve(file: SpecFile, lock: Lock, release: Release) -> tuple[Solution | None, tuple[Diagnostic, ...]]:
    """Place the stack and size every KV cache, or say why not."""
    found = attempt(file.spec, lock, release)
    if isinstance(found, Solution):
        return found, ()
    return None, tuple(_diagnostic(problem, file, lock, release) for problem in found)


def _diagnostic(problem: Problem, file: SpecFile, lock: Lock, release: Release) -> Diagnostic:
    label = file.at("services", problem.service, *problem.path, text=problem.label)
    helps = tuple(_checked_helps(problem, file, lock, release))
    return Diagnostic(problem.code, problem.message, label, problem.notes, helps)


def _checked_helps(problem: Problem, file: SpecFile, lock: Lock, release: Release) -> Iterable[Help]:
    """Remedies that compile, one of each kind: the mildest, because milder ones come first."""
    kinds: set[str] = set()
    for remedy in problem.remedies:
        if remedy.kind in kinds or len(kinds) >= MAX_HELPS:
            continue
        changed = edited_spec(file.document.data, remedy.edits)
        if changed is None or stale_services(changed, lock):
            continue
        if isinstance(attempt(changed, lock, release), Solution):
            kinds.add(remedy.kind)
            yield Help(remedy.text, remedy.edits)


def edited_spec(data: Any, edits: Iterable[Edit]) -> Spec | None:
    """The spec with edits applied; None if it would no longer be one."""
    try:
        return Spec.model_validate(apply_edits(data, edits))
    except ValidationError:
        return None


def apply_edits(data: Any, edits: Iterable[Edit]) -> Any:
    """A copy of a spec's plain data with values set and keys removed."""
    changed: Any = copy.deepcopy(data)
    for edit in edits:
        target: Any = changed
        for part in edit.path[:-1]:
            target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
        if edit.value is None:
            target.pop(edit.path[-1], None)
        else:
            target[edit.path[-1]] = list(edit.value) if isinstance(edit.value, tuple) else edit.value
    return changed
