"""wait-ready and smoke-test against a server that behaves like vLLM, or almost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compiler.plan.ir import Plan
from tests.unit.plan_samples import PATH, one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_service, write_tree

KEY = "sk-very-secret"


class FakeServer(ThreadingHTTPServer):
    """vLLM's HTTP side. Tests change the attributes to break one thing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_address[1]
        self.key: str | None = KEY
        self.name = "coder"
        self.version = "0.33.0"
        self.max_model_len = 16384
        self.health = 200
        self.chunks = 4
        self.ends_stream = True
        self.refuses_overlong = True
        self.counts_tokens = True
        self.message: dict[str, Any] = {"content": "Red."}
        self.metrics_label = 'num_gpu_blocks="8193"'
        self.generated = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of the test's business."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(self.server.health, {})
        elif self.path == "/version":
            self._answer(200, {"version": self.server.version})
        elif self.path == "/metrics":
            self._send(200, self._metrics().encode())
        elif self._is_allowed():
            card = {"id": self.server.name, "max_model_len": self.server.max_model_len}
            self._answer(200, {"object": "list", "data": [card]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_allowed():
            return
        too_long = isinstance(body.get("prompt"), list) and len(body["prompt"]) > self.server.max_model_len
        if body["model"] != self.server.name:
            self._answer(404, {"error": "no such model"})
        elif too_long and self.server.refuses_overlong:
            self._answer(400, {"error": "too long"})
        elif body.get("stream"):
            self._stream()
        else:
            self._generate("chat" in self.path)

    def _is_allowed(self) -> bool:
        if self.server.key is None or self.headers["Authorization"] == f"Bearer {self.server.key}":
            return True
        self._answer(401, {"error": "Unauthorized"})
        return False

    def _generate(self, is_chat: bool) -> None:
        self.server.generated += 4 if self.server.counts_tokens else 0
        choice = {"message": self.server.message} if is_chat else {"text": "Red."}
        self._answer(200, {"choices": [{**choice, "finish_reason": "stop"}], "usage": {"completion_tokens": 4}})

    def _stream(self) -> None:
        lines = ['data: {"choices": [{}]}\n\n'] * self.server.chunks
        lines += ["data: [DONE]\n\n"] if self.server.ends_stream else []
        self._send(200, "".join(lines).encode())

    def _metrics(self) -> str:
        return (
            "# HELP vllm:num_requests_running n\n"
            f'vllm:num_requests_running{{engine="0",model_name="{self.server.name}"}} 0.0\n'
            f'vllm:generation_tokens_total{{engine="0",model_name="{self.server.name}"}} {self.server.generated}.0\n'
            f'vllm:cache_config_info{{block_size="16",engine="0",{self.server.metrics_label},x="a,b\\"}}"}} 1.0\n'
        )

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY + "\n", encoding="ascii")
    return path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(two_on_one_gpu(), tmp_path_factory.mktemp("tree"))


Smoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def smoke(tree: Path, server: FakeServer, key_file: Path) -> Smoke:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        given = ["--port", str(server.port), "--api-key-file", str(key_file), "--timeout", "0.2", *options]
        done = run_program(tree, "smoke-test", "coder", *given)
        assert KEY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def run_program(tree: Path, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A proxy must never stand between a probe and the server on the same machine.
    proxied = {"PATH": PATH, "http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    command = [str(tree / "bin" / name), *arguments]
    return subprocess.run(command, env=proxied | environment, capture_output=True, text=True, timeout=20, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def statuses(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {check["check"]: check["status"] for check in json.loads(done.stdout)["checks"]}


def test_a_server_as_planned_passes_every_check(smoke: Smoke) -> None:
    done = smoke("--format", "json")
    assert done.returncode == 0, done.stdout
    assert set(statuses(done).values()) == {"ok"}
    assert len(statuses(done)) == 12


def test_reasoning_counts_as_an_answer(smoke: Smoke, server: FakeServer) -> None:
    server.message = {"content": None, "reasoning": "Let me think."}
    assert smoke().returncode == 0


def test_text_says_what_was_seen(smoke: Smoke) -> None:
    done = smoke()
    assert "ok    coder: kv-cache: 8193 blocks of 16 tokens" in done.stdout
    assert done.stdout.endswith("12 ok, 0 failed, 0 skipped\n")


def test_tap_numbers_the_checks(smoke: Smoke) -> None:
    lines = smoke("--format", "tap").stdout.splitlines()
    assert lines[:2] == ["1..12", "ok 1 - coder: health"]


BREAKAGES = {
    "version": {"version": "0.32.0"},
    "context": {"max_model_len": 8192},
    "chat": {"message": {"content": ""}},
    "stream": {"ends_stream": False},
    "overlong": {"refuses_overlong": False},
    "metrics": {"counts_tokens": False},
    "kv-cache": {"metrics_label": 'num_gpu_blocks="8000"'},
    "guard": {"key": None},
}


@pytest.mark.parametrize("check", BREAKAGES)
def test_what_differs_from_the_plan_fails_its_check(smoke: Smoke, server: FakeServer, check: str) -> None:
    for name, value in BREAKAGES[check].items():
        setattr(server, name, value)
    done = smoke("--format", "json")
    assert done.returncode == 1, done.stdout
    assert [name for name, status in statuses(done).items() if status == "fail"] == [check]


def test_a_local_build_of_the_planned_release_passes(smoke: Smoke, server: FakeServer) -> None:
    server.version = "0.33.0+cpu"
    assert smoke().returncode == 0


def test_a_single_chunk_is_no_stream(smoke: Smoke, server: FakeServer) -> None:
    server.chunks = 1
    assert smoke().returncode == 1


def test_a_refused_key_ends_the_test(smoke: Smoke, server: FakeServer) -> None:
    server.key = "another"
    done = smoke("--format", "json")
    assert done.returncode == 5
    assert statuses(done)["chat"] == "skip"


def test_a_name_that_is_not_served_ends_the_test(smoke: Smoke) -> None:
    done = smoke("--served-name", "other")
    assert done.returncode == 6
    assert "other is not served, but coder" in done.stdout


def test_a_wrong_port_is_unreachable(smoke: Smoke) -> None:
    assert smoke("--port", str(free_port())).returncode == 3


def test_a_server_that_hangs_is_given_up(smoke: Smoke) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = str(silent.getsockname()[1])
        assert smoke("--port", port, "--request-timeout", "0.2").returncode == 3


def test_an_unreadable_key_file_is_the_environments_fault(smoke: Smoke, key_file: Path) -> None:
    key_file.unlink()
    assert smoke().returncode == 4


def test_a_missing_plan_is_the_environments_fault(tmp_path: Path) -> None:
    tree = write_tree(two_on_one_gpu(), tmp_path)
    (tree / "plan.json").unlink()
    assert run_program(tree, "smoke-test").returncode == 4


def test_a_plan_of_another_schema_is_not_guessed_at(tmp_path: Path) -> None:
    tree = write_tree(two_on_one_gpu(), tmp_path)
    (tree / "plan.json").write_text('{"schema": 999}', encoding="ascii")
    done = run_program(tree, "smoke-test")
    assert (done.returncode, "schema 999" in done.stderr) == (4, True)


@pytest.mark.parametrize(
    "options", [["--port", "1"], ["--served-name", "x"], ["nobody"], ["--timeout", "nan"], ["--no-such"]]
)
def test_wrong_usage_is_refused(tree: Path, options: list[str]) -> None:
    assert run_program(tree, "smoke-test", *options).returncode == 2


def test_a_stack_without_a_key_skips_the_guard_and_says_why(tmp_path: Path, server: FakeServer) -> None:
    server.key, server.name = None, "big"
    tree = write_tree(with_service(one_on_two_gpus(), "big", port=server.port, host="0.0.0.0"), tmp_path)
    done = run_program(tree, "smoke-test", "--timeout", "0.2")
    assert done.returncode == 0, done.stdout
    assert "skip  big: guard: the plan has no API key" in done.stdout
    assert done.stdout.endswith("11 ok, 0 failed, 1 skipped\n")


def test_a_completion_service_is_not_asked_to_chat(tmp_path: Path, server: FakeServer, key_file: Path) -> None:
    server.name = "tiny"
    tree = write_tree(with_service(one_on_cpu(), "tiny", port=server.port), tmp_path)
    done = run_program(tree, "smoke-test", "--timeout", "0.2", STACKC_API_KEY_FILE=str(key_file))
    assert done.returncode == 0, done.stdout
    assert "skip  tiny: chat: the task is completion" in done.stdout


@pytest.fixture
def waiting(tmp_path: Path, server: FakeServer) -> Smoke:
    tree = write_tree(_plan_at(server.port), tmp_path / "tree")

    def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_program(tree, "wait-ready", "coder", *options, **environment)

    return run


def _plan_at(port: int) -> Plan:
    return with_service(two_on_one_gpu(), "coder", port=port)


def test_a_ready_server_ends_the_wait(waiting: Smoke) -> None:
    assert waiting("--pid", str(os.getpid())).returncode == 0


def test_a_server_that_listens_everywhere_is_probed_on_loopback(waiting: Smoke) -> None:
    assert waiting(STACKC_HOST="0.0.0.0").returncode == 0


def test_the_wait_is_bounded(tmp_path: Path) -> None:
    tree = write_tree(_plan_at(free_port()), tmp_path)
    start = time.monotonic()
    assert run_program(tree, "wait-ready", "coder", "--timeout", "0.3").returncode == 3
    assert time.monotonic() - start < 2


def test_a_process_that_is_gone_ends_the_wait_at_once(tmp_path: Path) -> None:
    tree = write_tree(_plan_at(free_port()), tmp_path)
    gone = subprocess.Popen(["true"])
    gone.wait()
    start = time.monotonic()
    for options, environment in ((["--pid", str(gone.pid)], {}), ([], {"MAINPID": str(gone.pid)})):
        assert run_program(tree, "wait-ready", "coder", *options, **environment).returncode == 4
    assert time.monotonic() - start < 3


def test_a_zombie_is_gone(waiting: Smoke) -> None:
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert waiting("--pid", str(zombie.pid)).returncode == 4
    finally:
        zombie.wait()


def test_a_dead_engine_ends_the_wait(waiting: Smoke, server: FakeServer) -> None:
    server.health = 503
    start = time.monotonic()
    assert waiting("--timeout", "15").returncode == 4
    assert time.monotonic() - start < 6


def test_wait_ready_refuses_an_unknown_service(tree: Path) -> None:
    assert run_program(tree, "wait-ready", "nobody").returncode == 2
