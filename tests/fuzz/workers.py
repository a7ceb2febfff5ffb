"""Processes that run cases and may be lost: one that hangs or eats all memory is ended, and another goes on."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.fuzz.bases import Bases
from tests.fuzz.running import Answer, Find, answer

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Limits:
    """Bounds of one case.

    Attributes:
        seconds: of processor time.
        idle_seconds: without any processor time, after which it waits for something that does not come.
        memory: bytes of address space beyond what the process has before its first case.
    """

    seconds: float = 5.0
    idle_seconds: float = 20.0
    memory: int = 1500 << 20


@dataclass(frozen=True)
class Asked:
    """A case by its name."""

    area: str
    seed: int
    number: int


def run_all(
    asked: Iterable[Asked], limits: Limits, root: Path, *, configs: Path | None, processes: int
) -> Iterator[tuple[Asked, Answer]]:
    """All these cases, by several processes; answers come in the order of the questions."""
    idle = [_Worker(limits, root / f"process-{index}", configs) for index in range(processes)]

    def run(each: Asked) -> tuple[Asked, Answer]:
        worker = idle.pop()
        try:
            return each, worker.ask(each)
        finally:
            idle.append(worker)

    try:
        with ThreadPoolExecutor(processes) as pool:
            yield from pool.map(run, asked)
    finally:
        for worker in idle:
            worker.stop()


class _Worker:
    """One process, started when it is asked and started anew when it was lost."""

    def __init__(self, limits: Limits, root: Path, configs: Path | None) -> None:
        self._limits, self._root, self._configs = limits, root, configs
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        root.mkdir(parents=True)

    def ask(self, asked: Asked) -> Answer:
        connection = self._started()
        connection.send(asked)
        found = self._wait(connection)
        if isinstance(found, Answer):
            if found.seconds <= self._limits.seconds:
                return found
            return Answer([*found.found, Find("hang", f"{found.seconds:.1f} s of processor time")], found.seconds)
        self.stop()
        return Answer([found], self._limits.seconds)

    def _started(self) -> Connection:
        if self._connection is None:
            self._connection, theirs = _SPAWN.Pipe()
            self._process = _SPAWN.Process(
                target=_work, args=(theirs, self._limits, self._root, self._configs), daemon=True
            )
            self._process.start()
            theirs.close()
            self._connection.recv()
        return self._connection

    def _wait(self, connection: Connection) -> Answer | Find:
        """An answer, or why there is none."""
        used, moved = -1.0, time.monotonic()
        first = self._processor_time()
        while not connection.poll(0.5):
            now = self._processor_time()
            if now - first > 3 * self._limits.seconds:
                return Find("hang", f"ended after {now - first:.0f} s of processor time at {self._where()}")
            if now > used:
                used, moved = now, time.monotonic()
            elif time.monotonic() - moved > self._limits.idle_seconds:
                return Find("hang", f"waits for what does not come at {self._where()}")
        try:
            return connection.recv()  # type: ignore[no-any-return] # an Answer is what _work sends
        except EOFError:
            return Find("memory", "the process died")

    def _processor_time(self) -> float:
        assert self._process is not None
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _where(self) -> str:
        """The innermost lines of the last trace that the process wrote of itself."""
        lines = [line.strip() for line in (self._root / "trace").read_text().splitlines() if "File " in line]
        return " < ".join(lines[:4]) or "an unknown place"

    def stop(self) -> None:
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = self._connection = None


def _work(connection: Connection, limits: Limits, root: Path, configs: Path | None) -> None:
    """The life of a process: nothing of the user's is read, nothing outside is asked."""
    _isolate(root)
    bases = Bases(configs)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    connection.send("ready")
    with (root / "trace").open("w") as trace:
        while True:
            try:
                asked: Asked = connection.recv()
            except EOFError:
                return
            trace.truncate(0)
            faulthandler.dump_traceback_later(2 * limits.seconds, file=trace)
            found = answer(asked.area, asked.seed, asked.number, bases, root)
            faulthandler.cancel_dump_traceback_later()
            connection.send(found)


def _isolate(root: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        os.environ.pop(name, None)
    folders = {name: str(root / name.lower()) for name in ("XDG_CACHE_HOME", "HF_HOME", "HOME", "TMPDIR")}
    for folder in folders.values():
        Path(folder).mkdir()
    # A closed port of this machine, in case something asks where nothing should.
    os.environ.update(
        folders, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", COLUMNS="80"
    )
    tempfile.tempdir = None
    os.chdir(root)
