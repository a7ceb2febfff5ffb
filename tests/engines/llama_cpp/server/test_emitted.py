"""Trees that are compiled for a GGUF file, with the real server: how its programs start it, see it and end it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from tests.engine.engine_process import free_port
from tools.setup_llama_server import SERVER

pytestmark = pytest.mark.engine

KEY = "0123456789abcdef"
DRAIN_SECONDS = "1"


class Tree:
    """A compiled tree, and a server of it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.port = folder, free_port()
        (folder / "key").write_text(f"{KEY}\n")
        (folder / "key").chmod(0o600)
        (folder / "tiny.yaml").write_text(
            f"stack: tiny\nengine: {{llama.cpp: b10434}}\nnodes:\n  home: {{cpu: {{memory: 4GiB}}}}\n"
            f"services:\n  chat: {{model: {model}, context: 4K, concurrency: 2, port: {self.port}}}\n"
            f"secrets: {{api_key: {folder}/key}}\ntargets: [scripts]\n"
        )
        for words in (("lock",), ("compile", "--output", str(folder / "out"))):
            done = CliRunner().invoke(cli, [*words, str(folder / "tiny.yaml")])
            assert done.exit_code == 0, done.output
        self.root = folder / "out" / "tiny"
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "STACKC_LLAMA_SERVER": str(SERVER)}

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.root / "bin" / program), *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """The server below its supervisor, as a unit runs it."""
        supervise = [str(self.root / "lib/supervise"), "--name", "chat", "--port", str(self.port)]
        command = [*supervise, "--seconds", DRAIN_SECONDS, "--", str(self.root / "bin/launch-chat")]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)

    def server_of(self, supervisor: subprocess.Popen[bytes]) -> int:
        """The process that the supervisor started."""
        return int(Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()[0])

    def ask(self, body: dict[str, object], key: str | None = KEY) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        status = connection.getresponse().status
        connection.close()
        return status


CHAT: dict[str, object] = {"model": "chat", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2}


@pytest.fixture
def tree(model: Callable[[str], Path], tmp_path: Path) -> Tree:
    return Tree(tmp_path, model("qwen3"))


def test_it_starts_as_planned_serves_with_its_key_and_ends_when_asked(tree: Tree) -> None:
    assert tree.run("preflight").returncode == 0
    with tree.started() as supervisor:
        done = tree.run("wait-ready", "chat", "--timeout", "30")
        assert done.returncode == 0, done.stderr
        assert tree.ask(CHAT) == 200
        assert tree.ask(CHAT, key=None) == 401
        assert tree.ask(CHAT, key="another-key") == 401
        assert KEY not in Path(f"/proc/{tree.server_of(supervisor)}/cmdline").read_text()
        assert tree.run("preflight", "--only", "port").returncode == 14
        supervisor.terminate()
        assert supervisor.wait(20) == 0


def test_one_that_was_killed_starts_again_at_once(tree: Tree) -> None:
    for _ in range(2):
        with tree.started() as supervisor:
            assert tree.run("wait-ready", "chat", "--timeout", "30").returncode == 0
            os.kill(tree.server_of(supervisor), signal.SIGKILL)
            assert supervisor.wait(20) == 128 + signal.SIGKILL


def test_a_client_that_stays_does_not_keep_it_from_ending(tree: Tree) -> None:
    """It would wait for the last connection without limit."""
    with tree.started() as supervisor:
        assert tree.run("wait-ready", "chat", "--timeout", "30").returncode == 0
        connection = HTTPConnection("127.0.0.1", tree.port, timeout=30)
        body = CHAT | {"max_tokens": 100_000, "ignore_eos": True, "stream": True}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {KEY}"})
        assert connection.getresponse().readline().startswith(b"data: ")
        start = time.monotonic()
        supervisor.terminate()
        assert supervisor.wait(20) == 0
        assert time.monotonic() - start < 10
        connection.close()
    assert "open connections are cut off" in (tree.folder / "log").read_text()


def test_a_file_that_is_cut_is_found_before_the_start_and_ends_the_wait(
    model: Callable[[str], Path], tmp_path: Path
) -> None:
    own = Path(shutil.copy(model("qwen3"), tmp_path / "own.gguf"))
    tree = Tree(tmp_path, own)
    content = own.read_bytes()
    own.write_bytes(content[:20_000])
    done = tree.run("preflight", "--only", "model")
    assert done.returncode == 15
    assert f"{own} has 20000 bytes, the plan {len(content)}" in done.stdout
    with tree.started() as supervisor:
        assert tree.run("wait-ready", "chat", "--pid", str(supervisor.pid), "--timeout", "30").returncode == 4
        assert supervisor.wait(20) == 1
