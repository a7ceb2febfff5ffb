"""Removal of what is known to be ours: no link is followed, nothing that is mounted is entered, the rest is told.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stack.install.host import Host

_MOUNTS = Path("/proc/self/mountinfo")


def remove(host: Host, path: str) -> None:
    """Remove a file or a whole folder, or say why it stays."""
    place = host.path(path)
    if not os.path.lexists(place):
        return
    reason = obstacle(place)
    if reason is None:
        is_folder = place.is_dir()
        drop(host, path, partial(shutil.rmtree, place) if is_folder else place.unlink)
    else:
        host.leave(path, reason)


def drop(host: Host, path: str, change: Callable[[], object]) -> None:
    """A step after which a path is gone."""
    host.gone.add(path)
    host.step(f"remove {path}", change)


def remove_if_empty(host: Host, path: str) -> None:
    """Remove a folder that nothing is left in; whatever is, and was not told yet, is told now."""
    place = host.path(path)
    if not os.path.lexists(place):
        return
    reason = obstacle(place) or (None if place.is_dir() else "no folder")
    if reason is not None:
        host.leave(path, reason)
        return
    rest = [f"{path}/{name}" for name in sorted(os.listdir(place)) if f"{path}/{name}" not in host.gone]
    for each in rest:
        if not any(told.startswith((f"{each}/", f"{each}:")) for told in host.left):
            host.leave(each, "not the stack's")
    if not rest:
        drop(host, path, place.rmdir)


def obstacle(place: Path) -> str | None:
    """Why a removal would reach what lies somewhere else."""
    if place.is_symlink():
        return f"a link to {os.readlink(place)}"
    mounted = mounts_at(place)
    return f"{mounted[0]} is mounted" if mounted else None


def mounts_at(place: Path) -> list[str]:
    """Mount points that are a path, or lie below it."""
    wanted = os.path.realpath(place)
    lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = (_unescaped(line.split(" ")[4]) for line in lines)
    return sorted(point for point in points if point == wanted or point.startswith(f"{wanted}/"))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
