"""Stacks that are compiled together and would use each other's folders on the same machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path, PurePosixPath

from compiler.checks.paths import ROOTS, default_folder
from compiler.checks.read import read_spec
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.registry import ENGINES
from compiler.pipeline import Compiled
from compiler.plan.ir import Plan
from compiler.spec.reading.load import SpecFile

_INSTALLED = {"scripts", "systemd"}


def check_neighbours(stacks: Mapping[Path, Compiled]) -> Iterator[Diagnostic]:
    """Nodes of the same name are the same machine. The later stack is the one that is told."""
    for (_, one), (path, other) in combinations(stacks.items(), 2):
        found = next(_shared(one, other), None)
        if found is not None:
            key, folder, theirs = found
            file, _ = read_spec(path, str(path), ENGINES)
            if file is not None:
                yield _error(file, one.stack, key, folder, theirs)


def _shared(one: Compiled, other: Compiled) -> Iterator[tuple[str, str, str]]:
    """Folders of two stacks that lie in one another: the later stack's key and folder, and that of the earlier one."""
    pairs = ((mine, theirs) for mine in other.plans for theirs in one.plans if mine.node.name == theirs.node.name)
    for mine, theirs in pairs:
        for key, folder in _folders(mine):
            for _, taken in _folders(theirs):
                if PurePosixPath(folder).is_relative_to(taken) or PurePosixPath(taken).is_relative_to(folder):
                    yield key, folder, taken


def _folders(plan: Plan) -> Iterator[tuple[str, str]]:
    if _INSTALLED & set(plan.targets):
        yield from ((key, getattr(plan.paths, key)) for key in ROOTS)


def _error(file: SpecFile, stack: str, key: str, folder: str, theirs: str) -> Diagnostic:
    where, own = ("paths", key), default_folder(key, file.spec.stack)
    message = f"`{key}: {folder}` of this stack and `{theirs}` of stack `{stack}` lie in one another"
    notes = ("both have a node of that name, which is one machine",)
    helps = (Help(f"write `{key}: {own}`", (Edit(where, own),)),) if own != folder else ()
    return Diagnostic("E0221", message, file.at(*where), notes, helps)
