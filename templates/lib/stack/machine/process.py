"""Processes of this machine, as /proc shows them: who is alive, who listens on a port, what a tree of them takes.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")
_LISTENING = "0A"


class Process:
    """A process that must stay alive. Its start time tells it from a later one with the same number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._born = _stat(pid)[19:20]

    def is_gone(self) -> bool:
        """Whether it ended, reaped or not."""
        fields = _stat(self.pid)
        return not fields or fields[0] in ("Z", "X") or fields[19:20] != self._born


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none for no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The name, in parentheses, may hold anything.
    return text.rpartition(")")[2].split()


def listeners(port: int) -> set[int]:
    """Processes that listen on a TCP port, as far as this user may see; in a container they have another /proc."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    return {pid for pid in _pids() if sockets and sockets & set(_open_files(pid))}


def _listening_inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]


def _open_files(pid: int) -> Iterator[str]:
    try:
        names = os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(PROC / str(pid) / "fd" / name)
        except OSError:
            continue


def with_children(roots: Iterable[int]) -> set[int]:
    """These processes and all that descend from them: vLLM keeps its engine and its workers as children."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    pending = list(roots)
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.add(pid)
            pending += children.get(pid, [])
    return found


def proportional_memory(pid: int) -> int | None:
    """Bytes of main memory of one process, shared pages divided among their users; None where that is not shown."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None
