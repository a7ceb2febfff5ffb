"""A server that behaves like vLLM, or almost, and a gateway before it: tests change attributes to break one thing."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.unit.plan_samples import COMMIT, PATH

KEY = "sk-very-secret"
ROOT = f"/var/lib/stackc/hf/hub/models--org--coder-awq/snapshots/{COMMIT}"


class FakeServer(ThreadingHTTPServer):
    """vLLM's HTTP side."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port: int = self.server_address[1]
        self.key: str | None = KEY
        self.name = "coder"
        self.root = ROOT
        self.version = "0.33.0"
        self.max_model_len = 16384
        self.health = 200
        self.chunks = 12
        self.gap = 0.002
        self.first_gap = 0.0
        self.stream_event: dict[str, Any] = {"choices": [{}]}
        self.ends_stream = True
        self.refuses_overlong = True
        self.counts_tokens = True
        self.message: dict[str, Any] = {"content": "Red."}
        self.finish_reason = "stop"
        self.metrics_label = 'num_gpu_blocks="8193"'
        self.generated = 0
        self.embeddings: list[Any] = [[0.6, 0.8, 0.0, 0.0], [0.0, 0.6, 0.8, 0.0]]
        self.ranked: list[Any] = [(1, 0.9), (2, 0.2), (0, 0.1)]
        self.labelled: list[Any] = [[0.7], [0.4]]
        self.call: dict[str, Any] = {"name": "get_weather", "arguments": '{"city": "Rome", "unit": "celsius"}'}
        self.takes_tools = True
        self.fetches_media = False
        self.reads_media = 200
        self.structured = '{"colour": "red", "warm": true, "shades": ["dark"]}'
        self.body: bytes | None = None
        self.missing = 0  # bytes that are promised and do not come
        self.seconds_before_answer = 0.0
        # Requests after the first `alone` are answered once as many have come as the barrier takes.
        self.rendezvous: threading.Barrier | None = None
        self.alone = 0
        self.paths: list[str] = []
        # Of a gateway: which paths exist, whose key opens it, and which models it knows.
        self.allowed: tuple[str, ...] | None = None
        self.models: tuple[str, ...] = ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of the test's business."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        if self._is_hidden():
            return
        if self.path == "/health":
            self._answer(self.server.health, {})
        elif self.path == "/version":
            self._answer(200, {"version": self.server.version})
        elif self.path == "/metrics":
            self._send(200, self._metrics().encode())
        elif self._is_allowed():
            card = {"id": self.server.name, "max_model_len": self.server.max_model_len, "root": self.server.root}
            self._answer(200, {"object": "list", "data": [card]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        time.sleep(self.server.seconds_before_answer)
        if self.server.rendezvous is not None and len(self.server.paths) > self.server.alone:
            self.server.rendezvous.wait(60)
        if self._is_hidden() or not self._is_allowed():
            return
        given = body.get("prompt", body.get("input"))
        too_long = isinstance(given, list) and len(given) > self.server.max_model_len
        if body["model"] not in (self.server.models or (self.server.name,)):
            self._answer(404, {"error": "no such model"})
        elif too_long and self.server.refuses_overlong:
            self._answer(400, {"error": "too long"})
        elif self.server.body is not None:
            self._send(200, self.server.body)
        elif self.path == "/v1/embeddings":
            self._embed()
        elif self.path == "/v1/rerank":
            self._answer(
                200, {"results": [{"index": at, "relevance_score": score} for at, score in self.server.ranked]}
            )
        elif self.path == "/classify":
            self._answer(200, {"data": [{"probs": probabilities} for probabilities in self.server.labelled]})
        elif body.get("stream"):
            self._stream(body)
        else:
            self._generate(body)

    def _is_hidden(self) -> bool:
        if self.server.allowed is None or self.path in self.server.allowed:
            return False
        self._answer(404, {"error": "not found"})
        return True

    def _is_allowed(self) -> bool:
        if self.server.key is None or self.headers["Authorization"] == f"Bearer {self.server.key}":
            return True
        self._answer(401, {"error": "Unauthorized"})
        return False

    def _embed(self) -> None:
        self._answer(200, {"data": [{"embedding": vector} for vector in self.server.embeddings]})

    def _media(self, body: dict[str, Any]) -> int:
        """What becomes of the media of a request: their status; 200 for a request without any."""
        parts = [part for message in body.get("messages", ()) for part in message["content"] if isinstance(part, dict)]
        urls = [part[part["type"]]["url"] for part in parts if part["type"].endswith("_url")]
        if not urls or urls[0].startswith("data:"):
            return self.server.reads_media if urls else 200
        if self.server.fetches_media:
            host, port = urls[0].removeprefix("http://").partition("/")[0].split(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        return 400

    def _generate(self, body: dict[str, Any]) -> None:
        if (status := self._media(body)) != 200:
            self._answer(status, {"error": "not one of the allowed domains"})
            return
        self.server.generated += 4 if self.server.counts_tokens else 0
        choice: dict[str, Any] = {"finish_reason": self.server.finish_reason}
        if "tools" in body and not self.server.takes_tools:
            self._answer(400, {"error": '"auto" tool choice requires --enable-auto-tool-choice'})
            return
        if "tools" in body and body["tool_choice"] != "auto":
            choice["message"] = {"tool_calls": [{"type": "function", "function": self.server.call}]}
        elif "response_format" in body:
            choice |= {"message": {"content": self.server.structured}, "text": self.server.structured}
        else:
            choice |= {"message": self.server.message} if "messages" in body else {"text": "Red."}
        self._answer(200, {"choices": [choice], "usage": {"completion_tokens": 4}})

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        time.sleep(self.server.first_gap)
        events: list[str] = [json.dumps(self.server.stream_event)] * self.server.chunks
        if "stream_options" in body:
            events.append(json.dumps({"choices": [], "usage": {"completion_tokens": self.server.chunks}}))
        written = [f"data: {event}\n\n".encode() for event in [*events, *["[DONE]"] * self.server.ends_stream]]
        if not self.server.gap:  # as a proxy that buffers sends them
            self.wfile.write(b"".join(written))
            return
        for event in written:
            self.wfile.write(event)
            time.sleep(self.server.gap)

    def _metrics(self) -> str:
        labels = f'{{engine="0",model_name="{self.server.name}"}}'
        return (
            "# HELP vllm:num_requests_running n\n"
            f"vllm:num_requests_running{labels} 0.0\n"
            f"vllm:generation_tokens_total{labels} {self.server.generated}.0\n"
            f"vllm:prompt_tokens_total{labels} {8 * len(self.server.paths)}.0\n"
            f'vllm:cache_config_info{{block_size="16",engine="0",{self.server.metrics_label},x="a,b\\"}}"}} 1.0\n'
        )

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + self.server.missing))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@contextmanager
def serving() -> Iterator[FakeServer]:
    """A server that runs until the block ends."""
    with FakeServer() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


def run_program(tree: Path, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One of the emitted programs. A proxy must never stand between it and the server on the same machine."""
    proxied = {"PATH": PATH, "http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    command = [str(tree / "bin" / name), *arguments]
    done = subprocess.run(command, env=proxied | environment, capture_output=True, text=True, timeout=120, check=False)
    assert KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def statuses(done: subprocess.CompletedProcess[str], subject: str | None = None) -> dict[str, str]:
    """The status of each check, by its name, of one subject or of all."""
    checks = json.loads(done.stdout)["checks"]
    return {check["check"]: check["status"] for check in checks if subject in (None, check["subject"])}
