"""How the real server starts and ends, where units rely on it: exit statuses, signals, ports and sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from tests.engine.engine_process import free_port, run_server
from tests.engines.llama_cpp.random_models import FEED_FORWARD, llama
from tests.engines.llama_cpp.server.running import Running, clean_environment, exit_status, serve, start
from tests.gguf.writer import tensor
from tools.setup_llama_server import SERVER

pytestmark = pytest.mark.engine

Models = Callable[[str], Path]
# Of feed-forward parts that make a file of 3 GiB, which is a hole.
WIDE = 1 << 20


def test_it_says_that_it_loads_and_a_signal_then_kills_it(tmp_path: Path) -> None:
    """503 until the model is there. Its handler comes after the load: systemd sees the signal, a shell 143."""
    slow, big = llama(), tmp_path / "big.gguf"
    slow.set({"feed_forward_length": WIDE})
    widened = (tuple(WIDE if n == FEED_FORWARD else n for n in each.shape) for each in slow.tensors)
    slow.tensors = [tensor(each.name, "f32", *shape) for each, shape in zip(slow.tensors, widened, strict=True)]
    slow.write_sparse(big)
    with start(big, tmp_path / "log", "--load-mode", "none") as running:
        deadline = time.monotonic() + 30
        while (answer := running.health()) is None:
            assert running.server.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert answer == 503
        error = running.get("/health").json["error"]
        assert (error["code"], error["message"]) == (503, "Loading model")
        code, seconds = running.server.stop()
        assert code == -signal.SIGTERM
        assert seconds < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_0(number: signal.Signals, model: Models, tmp_path: Path) -> None:
    with serve(model("llama"), tmp_path / "log") as running:
        running.server.process.send_signal(number)
        assert running.server.process.wait(20) == 0


@contextmanager
def long_request(running: Running, *, stream: bool) -> Iterator[HTTPConnection]:
    """A request that takes minutes, once a slot works at it."""
    connection = running.connect()
    body = {"prompt": "a", "n_predict": 100_000, "ignore_eos": True, "stream": stream}
    connection.request("POST", "/completion", json.dumps(body))
    deadline = time.monotonic() + 20
    while not any(slot["is_processing"] for slot in running.get("/slots").json):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def busy(model: Models, tmp_path: Path, *words: str) -> Iterator[Running]:
    size = ("--ctx-size", "131072", "--parallel", "1")
    with serve(model("llama"), tmp_path / "log", *size, *words) as running:
        yield running


def test_a_request_under_way_is_never_answered_once_it_is_asked_to_end(model: Models, tmp_path: Path) -> None:
    """It drains nothing: it stops computing, answers nobody else, and stays until the client leaves.

    So requests must be done before the signal, and TimeoutStopSec ends the rest.
    """
    with busy(model, tmp_path) as running:
        with long_request(running, stream=False) as connection:
            running.server.process.send_signal(signal.SIGTERM)
            assert connection.sock is not None
            connection.sock.settimeout(2.0)
            with pytest.raises(TimeoutError):
                connection.getresponse()
            assert running.health() is None
            assert running.server.process.poll() is None
            before = cpu_ticks(running.server.process.pid)
            time.sleep(1.0)
            assert cpu_ticks(running.server.process.pid) - before < 20, "it still computes"
        assert running.server.process.wait(20) == 0


def cpu_ticks(pid: int) -> int:
    """What the process has computed, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_stream_under_way_is_cut_without_its_end_at_the_next_ping(model: Models, tmp_path: Path) -> None:
    """A ping comes every 30 seconds; the client sees no usage, no [DONE], and chunks that do not end."""
    with busy(model, tmp_path, "--sse-ping-interval", "1") as running, long_request(running, stream=True) as connection:
        response = connection.getresponse()
        assert response.readline().startswith(b"data: ")
        running.server.process.send_signal(signal.SIGTERM)
        with pytest.raises(IncompleteRead) as cut:
            response.read()
        assert b'"stop":true' not in cut.value.partial
        assert running.server.process.wait(20) == 0


def test_a_second_signal_ends_it_at_once(model: Models, tmp_path: Path) -> None:
    with busy(model, tmp_path) as running, long_request(running, stream=False):
        running.server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert running.server.process.poll() is None
        running.server.process.send_signal(signal.SIGTERM)
        assert running.server.process.wait(5) == 1


def test_a_socket_is_left_behind_and_keeps_the_next_start_from_its_place(model: Models, tmp_path: Path) -> None:
    """So a unit removes it before each start."""
    place = tmp_path / "server.sock"
    command = [str(SERVER), "--model", str(model("llama")), "--host", str(place), "--ctx-size", "512", "--fit", "off"]
    environment = clean_environment(tmp_path)
    with run_server(command, environment, tmp_path / "log") as server:
        deadline = time.monotonic() + 30
        while b"listening on" not in server.log.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert server.stop()[0] == 0
    assert place.is_socket()
    again = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    assert again.returncode == 1
    place.unlink()
    with run_server(command, environment, tmp_path / "log") as server:
        while b"listening on" not in server.log.read_bytes():
            assert server.process.poll() is None
            time.sleep(0.02)


def test_a_port_that_is_taken_ends_the_start_with_1(model: Models, tmp_path: Path) -> None:
    with serve(model("llama"), tmp_path / "log") as running:
        assert exit_status(model("llama"), tmp_path / "second", "--port", str(running.port)) == 1
        assert running.health() == 200
    assert "couldn't bind" in (tmp_path / "second").read_text()


@pytest.mark.parametrize("length", [0, 4, 100, 20_000, -32])
def test_a_file_that_is_cut_ends_the_start_with_1(length: int, model: Models, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model("llama").read_bytes()[:length])
    assert exit_status(cut, tmp_path / "log") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--no-such-option",),
        ("--ctx-size", "many"),
        ("--flash-attn", "maybe"),
        ("--api-key-file", "/nonexistent/keys"),
        ("--chat-template-file", "/nonexistent/template"),
        ("--device", "CUDA0"),
        ("--flash-attn", "off", "--cache-type-v", "q8_0"),
        ("--ssl-cert-file", "/nonexistent/cert", "--ssl-key-file", "/nonexistent/key"),
    ],
    ids=" ".join,
)
def test_what_it_cannot_do_ends_the_start_with_1(words: tuple[str, ...], model: Models, tmp_path: Path) -> None:
    assert exit_status(model("llama"), tmp_path / "log", *words) == 1


def test_a_model_that_is_not_there_ends_the_start_with_1(tmp_path: Path) -> None:
    port = free_port()
    assert exit_status(tmp_path / "none.gguf", tmp_path / "log", "--port", str(port)) == 1
