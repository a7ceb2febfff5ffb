"""Whole processes, as a user starts them: CPU seconds by the system's own account, what they print, and when."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Of which `ru_maxrss` counts.
_KIB = 1024


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        cpu: seconds, user and system, of the process and of those it waited for.
        wall: seconds.
        peak: bytes of memory that one of them had at most.
        first: seconds until the first byte was printed; those of the run where none was.
        lines: printed on both streams, in the order in which they came.
    """

    code: int
    cpu: float
    wall: float
    peak: int
    first: float
    lines: tuple[str, ...]


class Machine:
    """A folder with a home and caches of its own, so that nothing is warm that these runs did not warm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        places = {"HOME": folder / "home", "XDG_CACHE_HOME": folder / "cache", "PYTHONPYCACHEPREFIX": folder / "pyc"}
        self.environment = {**kept, **{key: str(path) for key, path in places.items()}, "COLUMNS": "80"}

    def run(self, command: Sequence[str], *, below: str = ".") -> Run:
        """Run a command in a folder below this one."""
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=self.folder / below,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if process.stdout is None:
            raise TypeError("a pipe was asked for")
        with process.stdout as pipe:
            begin = pipe.read(1)
            first = time.perf_counter() - start
            text = (begin + pipe.read()).decode(errors="replace")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * _KIB
        return Run(process.returncode, cpu, wall, peak, first, tuple(text.splitlines()))

    def in_turn(self, commands: Sequence[Sequence[str]], runs: int) -> list[list[float]]:
        """CPU seconds of each command, run in turn so that all meet the same moods of the machine; one run warms."""
        times: list[list[float]] = [[] for _ in commands]
        for _ in range(runs + 1):
            for found, command in zip(times, commands, strict=True):
                found.append(self.run(command).cpu)
        return [found[1:] for found in times]


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios, pair by pair."""
    return statistics.median(one / other for one, other in zip(times, others, strict=True))


def new_machine() -> tempfile.TemporaryDirectory[str]:
    """A folder that is gone afterwards."""
    return tempfile.TemporaryDirectory(prefix="stackc-bench-")


STACKC = str(Path(sys.executable).with_name("stackc"))
