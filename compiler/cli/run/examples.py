"""The stacks that ship with stackc: specs to start from, and the facts that their locks recorded."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from compiler.checks.read import LOCK_SUFFIX
from compiler.lock.file import read_lock
from compiler.lock.models import Lock

_PACKAGE = Path(__file__).resolve().parents[2]


def folder() -> Path:
    """Where they lie: inside the installed package, at the top of the repository."""
    installed = _PACKAGE / "stacks"
    return installed if installed.is_dir() else _PACKAGE.parent / "stacks"


@cache
def examples() -> dict[str, Path]:
    """Their specs, by name."""
    found = sorted(path for path in folder().glob("*.yaml") if not path.name.endswith(LOCK_SUFFIX))
    return {path.stem: path for path in found}


def about(path: Path) -> str:
    """What the first remark of a spec says of it."""
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
    return next((line[2:] for line in lines if "$schema=" not in line), "")


@cache
def recorded() -> tuple[Lock, ...]:
    """Their locks."""
    locks = (read_lock(path, path.name)[0] for path in sorted(folder().glob(f"*{LOCK_SUFFIX}")))
    return tuple(lock for lock in locks if lock is not None)
