"""bench and evaluate with a real vLLM: its client, its server, its Python."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.engine.engine_process import CPU_RELEASE
from tests.engine.stack import KEY, Stack, compile_stack

pytestmark = pytest.mark.engine

# As little as a comparison needs: most of the time goes into starting vLLM's client.
LOAD = ("--runs", "1", "--requests", "6", "--input-len", "16", "--output-len", "8")
# A shared machine may be ten times slower at one moment than at another: what counts here is that like runs are
# compared at all, and that a server is found slow which gets every request later than any first token takes.
GENEROUS = ("--tolerance", "10000")
DELAY = 4.0

CASES = """
defaults: {max_tokens: 8}
cases:
- {name: anything, prompt: Hello, checks: [{regex: '(?s).*'}, {not_contains: no such text}]}
- {name: hot, prompt: Hello, temperature: 1, samples: 3, checks: [{regex: '(?s).*'}]}
- {name: never, prompt: Hello, checks: [{equals: no such text}]}
- {name: noise-is-no-json, prompt: Hello, checks: [{json_schema: {type: object}}]}
- {name: noise-is-no-code, prompt: Hello, checks: [{python: 'assert add(1, 2) == 3'}]}
- name: talk
  messages: [{role: system, content: Be brief.}, {role: user, content: Hi}]
  checks: [{regex: '(?s).*'}]
"""


@pytest.fixture(scope="module")
def running(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = compile_stack(tmp_path_factory.mktemp("judged"), tiny_model, key=True)
    with stack.serve():
        yield stack


def checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert KEY not in done.stdout + done.stderr
    return done


def test_a_baseline_a_like_run_and_a_slowed_server(running: Stack, tmp_path: Path) -> None:
    where = ("--baselines", str(tmp_path / "baselines"))
    first = checked(running.run("bench", *LOAD, *where))
    assert first.returncode == 0, first.stdout + first.stderr
    (path,) = (tmp_path / "baselines/tiny").glob("*.json")
    baseline = json.loads(path.read_text())
    assert baseline["release"]["vllm"] == CPU_RELEASE
    assert all(figure["median"] > 0 for figure in baseline["metrics"].values())
    assert len(baseline["metrics"]) == 9

    again = checked(running.run("bench", *LOAD, *where, *GENEROUS))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "against its baseline" in again.stdout

    with slowed(running, tmp_path) as slow:
        done = checked(slow.run("bench", *LOAD, *where, "--tolerance", "50", "--format", "json"))
    assert done.returncode == 24, done.stdout + done.stderr
    changes = json.loads(done.stdout)["services"][0]["comparisons"][0]["changes"]
    assert {each["metric"] for each in changes if each["regression"]} >= {"median_ttft_ms"}


@contextmanager
def slowed(stack: Stack, folder: Path) -> Iterator[Stack]:
    """The same stack, where every request reaches the server late."""
    tree = Path(shutil.copytree(stack.tree, folder / "slow"))
    with SlowProxy(stack.port) as proxy:
        port = int(proxy.server_address[1])
        plan = json.loads((tree / "plan.json").read_text())
        plan["services"][0]["port"] = port
        (tree / "plan.json").write_text(json.dumps(plan))
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield replace(stack, tree=tree, port=port)
        finally:
            proxy.shutdown()
            thread.join()


class SlowProxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarder)
        self.target = port


class _Forwarder(BaseHTTPRequestHandler):
    """Each request has connections of its own: idle ones would end while the next request is held back."""

    server: SlowProxy

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self.forward(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(DELAY)
        self.forward(body)

    def forward(self, body: bytes | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        kept = {name: value for name, value in self.headers.items() if name in ("Authorization", "Content-Type")}
        connection.request(self.command, self.path, body, kept)
        response = connection.getresponse()
        self.send_response(response.status)
        self.send_header("Content-Type", response.headers["Content-Type"] or "text/plain")
        self.end_headers()
        while piece := response.read1(65536):
            self.wfile.write(piece)
        connection.close()


def test_answers_of_a_real_model_are_judged_with_the_python_of_vllm(running: Stack, tmp_path: Path) -> None:
    (tmp_path / "cases.yaml").write_text(CASES)
    # The system's Python of a server knows no YAML.
    (tmp_path / "python3").write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 -S "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    bare = replace(running, environment=running.environment | {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    done = checked(bare.run("evaluate", str(tmp_path / "cases.yaml"), "--pass-rate", "60%", "--format", "json"))
    assert done.returncode == 25, done.stdout + done.stderr
    cases = json.loads(done.stdout)["services"][0]["cases"]
    passed = {case["name"]: case["score"] for case in cases}
    assert passed.pop("talk") == passed.pop("anything") == passed.pop("hot") == 1
    assert set(passed.values()) == {0}
    assert all(sample["error"] is None for case in cases for sample in case["samples"])
    assert running.run("evaluate", str(tmp_path / "cases.yaml"), "--pass-rate", "50%").returncode == 0
