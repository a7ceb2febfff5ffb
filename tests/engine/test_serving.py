"""End to end: a spec is compiled, its launch script serves on this machine's CPU, and its own programs agree."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.engine_process import free_port
from tests.engine.stack import Stack, compile_stack

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def guarded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with an API key."""
    stack = compile_stack(tmp_path_factory.mktemp("guarded"), tiny_model, key=True)
    with stack.serve():
        yield stack


def test_smoke_test_finds_what_was_planned(guarded: Stack) -> None:
    result = guarded.run("smoke-test", "--format", "json")
    assert result.returncode == 0, result.stdout + result.stderr
    statuses = {check["check"]: check["status"] for check in json.loads(result.stdout)["checks"]}
    # A skipped check would prove nothing. Of these, `kv-cache` says that vLLM allocated exactly the planned blocks,
    # and `memory` that its processes, found by their port, stay within the ledger.
    asked = {"kv-cache", "guard", "revision", "stream", "budget", "memory"}
    assert {name for name in asked if statuses[name] != "ok"} == set()
    assert "fail" not in statuses.values()


def test_the_engine_allocates_the_planned_cache(guarded: Stack) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=60)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    line = next(line for line in metrics.splitlines() if line.startswith("vllm:cache_config_info{"))
    planned = guarded.service["kv_cache"]
    assert f'num_gpu_blocks="{planned["num_blocks"]}"' in line
    assert f'block_size="{planned["block_size"]}"' in line


def test_smoke_test_tells_an_unreachable_server(guarded: Stack) -> None:
    assert guarded.run("smoke-test", "--port", str(free_port()), "--timeout", "1").returncode == 3


def test_smoke_test_tells_a_refused_key(guarded: Stack, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-another\n")
    result = guarded.run("smoke-test", "--api-key-file", str(tmp_path / "key"))
    assert result.returncode == 5, result.stdout + result.stderr
    assert "sk-another" not in result.stdout + result.stderr


def test_smoke_test_tells_a_model_that_is_not_served(guarded: Stack) -> None:
    assert guarded.run("smoke-test", "--served-name", "another").returncode == 6


def test_without_a_key_it_serves_and_finishes_what_it_has_begun(tiny_model: Path, tmp_path: Path) -> None:
    stack = compile_stack(tmp_path, tiny_model, key=False)
    # However slow the machine is: the drain ends with the request.
    stack.set_deadlines(drain=600, cut=900)
    # A key in the caller's environment must not lock the clients of this stack out.
    stack.environment["VLLM_API_KEY"] = "sk-leaked"
    with stack.serve() as server, ThreadPoolExecutor() as clients:
        smoke = stack.run("smoke-test")
        assert smoke.returncode == 0, smoke.stdout + smoke.stderr
        answer = Request(stack)
        tokens = clients.submit(answer.read)
        code, _ = server.stop(600)
        assert code == 0
        assert tokens.result(60) == Request.TOKENS
        assert "cut off" not in server.log.read_text()
        assert not server.survivors()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", stack.port).connect()


def test_clients_that_never_hang_up_do_not_keep_a_stop_from_ending(tiny_model: Path, tmp_path: Path) -> None:
    """vLLM alone would wait for them for ever: its engine is gone, and nobody ends the connections."""
    stack = compile_stack(tmp_path, tiny_model, key=False)
    stack.set_deadlines(drain=1, cut=6)
    with stack.serve() as server, ExitStack() as clients:
        half = clients.enter_context(socket.create_connection(("127.0.0.1", stack.port)))
        half.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        idle = clients.enter_context(socket.create_connection(("127.0.0.1", stack.port)))
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        stream = Request(stack)
        clients.callback(stream.close)
        code, _ = server.stop(120)
        log = server.log.read_text()
        assert code == 0, log
        assert "supervise: tiny: SIGTERM: 3 open connections, 6 s to finish" in log
        # The idle one was closed by vLLM; the stream is whole on a fast machine, and cut on a slow one.
        assert re.search(r"not ended after 6 s: [12] open connections are cut off", log), log
        assert not server.survivors()


class Request:
    """A completion that has begun; it ends only after as many tokens as it asked for."""

    TOKENS = 200

    def __init__(self, stack: Stack) -> None:
        body = {"model": stack.service["served_name"], "prompt": "a", "max_tokens": self.TOKENS, "ignore_eos": True}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        self._connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/v1/completions", json.dumps(body), headers)
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        self._response.readline()

    def close(self) -> None:
        """Give it up."""
        self._response.close()
        self._connection.close()

    def read(self) -> int:
        """Read to the end; the number of tokens by the server's own count."""
        lines = self._response.read().decode().splitlines()
        self._connection.close()
        assert "data: [DONE]" in lines
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        tokens: int = events[-1]["usage"]["completion_tokens"]
        return tokens
