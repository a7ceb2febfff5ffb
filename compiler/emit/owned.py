"""Whether a folder is a tree that stackc wrote. Only such a folder is ever replaced or removed.

A manifest alone proves nothing: any download has a SHA256SUMS. A tree of stackc's has one that lists `plan.json`, whose
bytes are those that it lists, and which says that it is the plan of the stack after which the folder is called. A stack
on several nodes has such a plan, and a manifest beside it, in a folder for each node.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from compiler.emit.manifest import NAME, read_manifest
from compiler.render.artifact import LIBRARY
from compiler.source.files import read_file

PLAN = "plan.json"
_MAX_PLAN = 64 << 20


def is_folder(path: Path) -> bool:
    """Whether there is a folder, which is not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def is_own(folder: Path) -> bool:
    """Whether stackc wrote this tree, under this name."""
    return stranger(folder) is None


def stranger(folder: Path) -> str | None:
    """Why a folder is not a tree of stackc's; None where it is one."""
    if not is_folder(folder):
        return "it is not a folder"
    manifest = read_manifest(folder)
    if not manifest:
        return f"it has no {NAME}"
    plans = tuple(_plans(manifest))
    if not plans:
        return f"its {NAME} lists no plan of stackc's"
    reasons = (_odd_plan(folder, plan, manifest[plan]) for plan in plans)
    return next((reason for reason in reasons if reason is not None), None)


def library_places(paths: Collection[str]) -> tuple[PurePosixPath, ...]:
    """Where a tree of these files has its libraries: beside each plan below which it has a library's manifest."""
    places = (PurePosixPath(plan).parent / LIBRARY for plan in _plans(paths))
    return tuple(place for place in places if str(place / NAME) in paths)


def _plans(manifest: Collection[str]) -> Iterator[str]:
    if PLAN in manifest:
        yield PLAN
        return
    for path in manifest:
        node, _, name = path.partition("/")
        if name == PLAN and f"{node}/{NAME}" in manifest:
            yield path


def _odd_plan(folder: Path, plan: str, digest: str) -> str | None:
    try:
        content = read_file(folder / plan, _MAX_PLAN)
        data = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return f"its {plan} cannot be read"
    if hashlib.sha256(content).hexdigest() != digest:
        return f"its {plan} is not the one that {NAME} lists"
    return None if _is_plan_of(folder.name, data) else f"its {plan} is no plan of a stack `{folder.name}`"


def _is_plan_of(stack: str, data: Any) -> bool:
    """These keys every release of stackc has written."""
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int) or data.get("stack") != stack:
        return False
    engine, services = data.get("engine"), data.get("services")
    return isinstance(engine, dict) and bool(engine) and isinstance(services, list)


def written_paths(folder: Path) -> set[str]:
    """Paths that a folder's own manifest names, with itself and the links to libraries; empty if it has none."""
    listed = read_manifest(folder)
    return {*listed, str(NAME), *map(str, library_places(listed))} if listed else set()
