"""Running a real llama-server so that nothing is left behind, and asking it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.engine_process import Server, free_port, run_server
from tools.setup_llama_server import SERVER

Json = dict[str, Any]
START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What it answered; `json` where that is JSON."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Running:
    """A llama-server on a port of 127.0.0.1."""

    server: Server
    port: int

    @property
    def log(self) -> str:
        return self.server.log.read_text(errors="replace")

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, body: Json, **headers: str) -> Answer:
        return self._ask("POST", path, body, headers)

    def _ask(
        self, method: str, path: str, body: Json | None, headers: Mapping[str, str], seconds: float = 60.0
    ) -> Answer:
        connection = self.connect(seconds)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()

    def connect(self, seconds: float = 60.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def wait_until_healthy(self) -> None:
        """Wait for 200 of /health; it fails at once if the server ends."""
        deadline = time.monotonic() + START_SECONDS
        while self.health() != 200:
            assert self.server.process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it is not healthy in time"
            time.sleep(0.02)

    def health(self) -> int | None:
        """The status of /health; None while nobody answers."""
        try:
            return self._ask("GET", "/health", None, {}, 2.0).status
        except (TimeoutError, ConnectionError, http.client.HTTPException):
            return None


@contextmanager
def start(
    model: Path,
    log: Path,
    *words: str,
    environment: Mapping[str, str] | None = None,
    unset: Collection[str] = (),
) -> Iterator[Running]:
    """Start a server on a free port and do not wait; what it would guess or fit is given, unless it is `unset`."""
    port = free_port()
    guessed = {"--port": str(port), "--ctx-size": "1024", "--parallel": "2", "--fit": "off", "--threads": "2"}
    given = [word for flag, value in guessed.items() if flag not in {*words, *unset} for word in (flag, value)]
    command = [str(SERVER), "--model", str(model), "--host", "127.0.0.1", *given, *words]
    with run_server(command, environment or clean_environment(log.parent), log) as server:
        yield Running(server, port)


@contextmanager
def serve(
    model: Path,
    log: Path,
    *words: str,
    environment: Mapping[str, str] | None = None,
    unset: Collection[str] = (),
) -> Iterator[Running]:
    """Start a server in the same way, and wait until it is healthy."""
    with start(model, log, *words, environment=environment, unset=unset) as running:
        running.wait_until_healthy()
        yield running


def clean_environment(home: Path) -> dict[str, str]:
    """Nothing of the developer's: llama-server reads LLAMA_ARG_* and a configuration file of the home folder."""
    return {"HOME": str(home), "PATH": "/usr/bin:/bin"}


def exit_status(model: Path, log: Path, *words: str) -> int:
    """How a start ends that is meant to fail."""
    with start(model, log, *words) as running:
        return running.server.process.wait(START_SECONDS)
