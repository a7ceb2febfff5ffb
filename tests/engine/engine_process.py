"""Running things of `.engine/` so that nothing is left behind: the parser as a process to ask, and servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.engines.vllm.releases import RELEASES

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / ".engine"
# Releases of which only the Python files are there; they run on the packages of the CPU build.
PLAIN_RELEASES = tuple(release.version for release in RELEASES.values() if release.build == "gpu")
GPU_RELEASE = PLAIN_RELEASES[0]
CPU_RELEASE = next(release.version for release in RELEASES.values() if release.build == "cpu")
STOP_SECONDS = 60.0


def engine_python() -> Path:
    return ENGINE / "cpu/bin/python"


def parser_environment(version: str) -> dict[str, str]:
    """The environment in which `import vllm` finds that release, and asks for no GPU."""
    folders = [str(ENGINE / f"vllm-{version}")] if version in PLAIN_RELEASES else []
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([*folders, str(ROOT)]),
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
    }


class ParserOracle:
    """vLLM's parser of one release, as a process that answers until it is closed."""

    def __init__(self, version: str, log: Path) -> None:
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [engine_python(), Path(__file__).with_name("parser_oracle.py")],
                env=parser_environment(version),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def refusal(self, words: Sequence[str]) -> str | None:
        """Why `vllm serve WORDS` is refused, or None."""
        error: str | None = self.ask(words)["error"]
        return error

    def ask(self, words: Sequence[str]) -> dict[str, Any]:
        """What `vllm serve WORDS` is read as.

        Returns:
            `error`, or None; `values` by name, those given and those that are not the default; `options`, each name.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(list(words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the parser ended:\n{self._log.read_text()}"
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process; it ends by itself at the end of its input."""
        self._process.communicate(timeout=120)


@dataclass(frozen=True, slots=True)
class Server:
    """A server as its unit runs it. It leads a session of its own, which holds all that it starts."""

    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, seconds: float = STOP_SECONDS) -> tuple[int, float]:
        """Ask it to end with SIGTERM; its exit status and how long that took.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds), time.monotonic() - started

    def survivors(self, seconds: float = 60.0) -> bool:
        """Whether any process of its session is still there after a moment's grace."""
        deadline = time.monotonic() + seconds
        while _session(self.process.pid):
            if time.monotonic() > deadline:
                return True
            time.sleep(0.1)
        return False


@contextmanager
def run_server(command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> Iterator[Server]:
    """Start a server, and stop it however the block ends. What it printed is shown if the block fails."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    server = Server(process, log)
    try:
        yield server
    except BaseException as error:
        error.add_note(f"--- {log}\n{log.read_text(errors='replace')[-8000:]}")
        raise
    finally:
        _end(server)


def _end(server: Server) -> None:
    """SIGTERM, then SIGKILL for whatever is left."""
    try:
        if server.process.poll() is None:
            server.stop(10.0)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for pid in _session(server.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.process.wait()


def _session(leader: int) -> list[int]:
    """Processes of a session that have not ended."""
    return [pid for pid, (state, session) in _processes() if session == leader and state not in "ZX"]


def _processes() -> Iterator[tuple[int, tuple[str, int]]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        yield int(folder.name), (fields[0], int(fields[3]))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
