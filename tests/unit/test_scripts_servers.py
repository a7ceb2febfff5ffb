"""smoke-test: is a server the one that the plan describes?"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Secrets, ServedModel
from tests.unit.fake_server import ROOT, FakeServer, run_program, statuses
from tests.unit.plan_samples import one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_service, write_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(two_on_one_gpu(), tmp_path_factory.mktemp("tree"))


Smoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def smoke(tree: Path, server: FakeServer, key_file: Path) -> Smoke:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        given = ["--port", str(server.port), "--api-key-file", str(key_file), "--timeout", "0.2", *options]
        return run_program(tree, "smoke-test", "coder", *given)

    return run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


OK = {
    "health", "version", "key", "model", "guard", "revision", "context", "kv-cache", "chat", "completion", "stream",
    "overlong", "metrics", "budget",
}  # fmt: skip


def test_a_server_as_planned_passes_every_check(smoke: Smoke) -> None:
    done = smoke("--format", "json")
    assert done.returncode == 0, done.stdout
    found = statuses(done, "coder")
    assert {name for name, status in found.items() if status == "ok"} == OK
    assert {name for name, status in found.items() if status == "skip"} == found.keys() - OK


def test_reasoning_counts_as_an_answer(smoke: Smoke, server: FakeServer) -> None:
    server.message = {"content": None, "reasoning": "Let me think."}
    assert smoke().returncode == 0


def test_text_says_what_was_seen(smoke: Smoke) -> None:
    done = smoke()
    assert "ok    coder: kv-cache: 8193 blocks of 16 tokens" in done.stdout
    assert done.stdout.endswith("14 ok, 0 failed, 10 skipped\n")


BREAKAGES = {
    "version": {"version": "0.32.0"},
    "context": {"max_model_len": 8192},
    "chat": {"message": {"content": ""}},
    "revision": {"root": "/var/lib/stackc/hf/hub/models--org--coder-awq/snapshots/" + "f" * 40},
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
    server.key, server.name, server.root = None, "big", ROOT.replace("coder-awq", "big")
    tree = write_tree(with_service(one_on_two_gpus(), "big", port=server.port, host="0.0.0.0"), tmp_path)
    done = run_program(tree, "smoke-test", "--timeout", "0.2")
    assert done.returncode == 0, done.stdout
    assert "skip  big: guard: the plan has no API key" in done.stdout
    # The plan knows no commit, so it has nothing to compare with.
    assert "skip  big: revision: serves commit 0123" in done.stdout


def test_a_completion_service_is_not_asked_to_chat(tmp_path: Path, server: FakeServer, key_file: Path) -> None:
    server.name, server.root = "tiny", "/srv/models/tiny"
    tree = write_tree(with_service(one_on_cpu(), "tiny", port=server.port), tmp_path)
    done = run_program(tree, "smoke-test", "--timeout", "0.2", STACKC_API_KEY_FILE=str(key_file))
    assert done.returncode == 0, done.stdout
    assert "skip  tiny: chat: the task is completion" in done.stdout


CODER = two_on_one_gpu().service("coder").model


@pytest.mark.parametrize(
    ("root", "model", "status"),
    [
        (ROOT, replace(CODER, commit="0123456", is_pinned=False), "ok"),
        (ROOT, replace(CODER, commit="89abcde", is_pinned=False), "fail"),
        (ROOT.replace("coder-awq", "coder"), CODER, "fail"),
        (ROOT.replace("coder-awq", "coder-awq-v2"), CODER, "fail"),
        ("org/coder-awq", CODER, "fail"),
    ],
)
def test_another_revision_or_model_is_found(
    tmp_path: Path, server: FakeServer, *, root: str, model: ServedModel, status: str
) -> None:
    """The old server still runs after an upgrade: name, context and cache are the same, the files are not."""
    server.root, server.key = root, None
    plan = with_service(two_on_one_gpu(), "coder", port=server.port, model=model)
    tree = write_tree(replace(plan, secrets=Secrets(None, None)), tmp_path / "tree")
    done = run_program(tree, "smoke-test", "coder", "--json", "--timeout", "0.2", "--requests", "0")
    assert statuses(done, "coder")["revision"] == status


def test_a_server_that_dies_while_it_is_waited_for_ends_the_test_at_once(smoke: Smoke) -> None:
    with subprocess.Popen(["sleep", "0.3"]) as dying:
        done = smoke("--port", str(free_port()), "--timeout", "600", "--pid", str(dying.pid))
    assert (done.returncode, "is gone" in done.stdout) == (4, True)


def test_a_dead_engine_is_not_waited_for(smoke: Smoke, server: FakeServer) -> None:
    server.health = 503
    done = smoke("--timeout", "600")
    assert (done.returncode, "its engine is dead" in done.stdout) == (3, True)


def test_an_answer_that_drips_in_is_given_up(smoke: Smoke) -> None:
    """A byte now and then keeps every single read in time: only the whole has a deadline."""
    with dripping() as port:
        done = smoke("--port", str(port), "--request-timeout", "0.5")
    assert (done.returncode, "no whole answer in 0.5 s" in done.stdout) == (3, True), done.stdout


@contextmanager
def dripping() -> Iterator[int]:
    """A server whose answer never ends."""

    def drip(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    for _ in range(100):
                        connection.sendall(b".")
                        time.sleep(0.1)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(15)


def dead_stack(tmp_path: Path, ports: tuple[int, int]) -> Path:
    plan = with_service(with_service(two_on_one_gpu(), "coder", port=ports[0]), "general", port=ports[1])
    return write_tree(plan, tmp_path / "tree")


def test_dead_servers_are_one_line_each_after_one_wait(tmp_path: Path, key_file: Path) -> None:
    tree = dead_stack(tmp_path, (free_port(), free_port()))
    start = time.monotonic()
    words = [str(tree / "bin/smoke-test"), "--timeout", "3", "--api-key-file", str(key_file)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "at most 3 s for all" in process.stderr.readline()
    said = time.monotonic() - start
    out, _ = process.communicate(timeout=60)
    took = time.monotonic() - start
    assert process.returncode == 3
    lines = out.splitlines()
    assert [line.split(":")[:2] for line in lines[:-1]] == [["FAIL  coder", " health"], ["FAIL  general", " health"]]
    assert lines[-1] == "0 ok, 2 failed, 0 skipped"
    # Two waits would be six seconds.
    assert 3 <= took < 3 + 2.5
    assert said < took - 2


def test_silent_servers_take_one_wait_too(tmp_path: Path, key_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        tree = dead_stack(tmp_path, (one.getsockname()[1], other.getsockname()[1]))
        start = time.monotonic()
        done = run_program(tree, "smoke-test", "--timeout", "2", "--api-key-file", str(key_file))
    assert (done.returncode, len(done.stdout.splitlines())) == (3, 3)
    assert time.monotonic() - start < 2 + 3


def test_a_server_that_is_there_is_asked_beside_a_dead_one(tmp_path: Path, server: FakeServer, key_file: Path) -> None:
    tree = dead_stack(tmp_path, (server.port, free_port()))
    done = run_program(tree, "smoke-test", "--timeout", "0.2", "--api-key-file", str(key_file), "--requests", "0")
    assert done.returncode == 3
    assert sum("general:" in line for line in done.stdout.splitlines()) == 1
    assert "ok    coder: chat" in done.stdout
    assert "skip  stack: together: general cannot be asked" in done.stdout
