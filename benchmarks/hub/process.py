"""The loopback Hub in a process of its own, so that it takes no time of the interpreter that is measured."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from tests.hub.recordings import Recording
from tests.hub.server import serve


@dataclass(frozen=True)
class HubProcess:
    """A running Hub."""

    url: str
    _pipe: Connection

    def taken(self) -> list[str]:
        """Paths of the requests since the last call."""
        self._pipe.send("take")
        paths: list[str] = self._pipe.recv()
        return paths


@contextmanager
def hub_process(recordings: Sequence[Recording], latency: float) -> Iterator[HubProcess]:
    """Run a Hub that answers every request `latency` seconds late."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, list(recordings), latency), daemon=True)
    process.start()
    try:
        yield HubProcess(ours.recv(), ours)
    finally:
        ours.send("stop")
        process.join()


def _run(pipe: Connection, recordings: list[Recording], latency: float) -> None:
    with serve(recordings, latency=latency) as hub:
        pipe.send(hub.url)
        taken = 0
        while pipe.recv() == "take":
            paths = [request.path for request in hub.requests[taken:]]
            taken += len(paths)
            pipe.send(paths)
