"""bench and evaluate with a real vLLM: its client, its server, its Python."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.stack import KEY, Stack, compile_stack

pytestmark = pytest.mark.engine

# As little as a comparison needs: most of the time goes into starting vLLM's client.
LOAD = ("--runs", "1", "--requests", "6", "--input-len", "16", "--output-len", "8")
# A shared machine may be ten times slower at one moment than at another: what counts here is that like runs are
# compared at all, and that a server is found slow whose every answer is late by more than any first token ever takes.
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
    assert baseline["release"]["vllm"] == "0.32.0"
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
    """The same stack, where every piece of an answer comes later."""
    tree = Path(shutil.copytree(stack.tree, folder / "slow"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        plan = json.loads((tree / "plan.json").read_text())
        plan["services"][0]["port"] = port
        (tree / "plan.json").write_text(json.dumps(plan))
        threading.Thread(target=accept, args=(listener, stack.port), daemon=True).start()
        yield replace(stack, tree=tree, port=port)


def accept(listener: socket.socket, port: int) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=forward, args=(client, server, 0.0), daemon=True).start()
            threading.Thread(target=forward, args=(server, client, DELAY), daemon=True).start()


def forward(source: socket.socket, sink: socket.socket, delay: float) -> None:
    with suppress(OSError), source, sink:
        while piece := source.recv(65536):
            time.sleep(delay)
            sink.sendall(piece)


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
