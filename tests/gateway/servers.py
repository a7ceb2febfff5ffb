"""Servers that behave as vLLM does towards a gateway, and clients that look closely at what comes back."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STREAM_CHUNKS, STREAM_GAP = 5, 0.2
KEY = "alice-0123456789abcdef"
OTHER_KEY = "bob-0123456789abcdef"
BACKEND_KEY = "backend-0123456789abcdef"


@dataclass
class Seen:
    """A request as a server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def model(self) -> Any:
        """What Python's parser, which is vLLM's too, takes for the model."""
        return json.loads(self.body)["model"]


class FakeServer(ThreadingHTTPServer):
    """Answers chats at once, or as a stream with gaps; wants the servers' key below /v1, as vLLM does."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), _Handler)
        self.name = name
        self.seen: list[Seen] = []
        self.key = BACKEND_KEY
        self.delay = 0.0
        self.breaks_off = False
        self.is_loading = False
        self.abandoned = 0
        self.speaks_openai = False

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        self._record(b"")
        self._answer(200, {"path": self.path})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._record(body)
        if self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self._answer(401, {"error": "Unauthorized"})
            return
        if self.server.is_loading:
            self._answer(503, {"error": {"code": 503, "message": "Loading model"}})
            return
        if self.server.breaks_off:
            self.close_connection = True
            return
        time.sleep(self.server.delay)
        data = json.loads(body)
        if data.get("stream"):
            try:
                self._stream(data.get("chunks", STREAM_CHUNKS), data.get("gap", STREAM_GAP))
            except OSError:
                self.server.abandoned += 1
        elif self.server.speaks_openai:
            self._answer(200, self._completion(data["model"]))
        else:
            self._answer(200, {"server": self.server.name, "model": data["model"], "length": len(body)})

    def _completion(self, model: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": f"from {self.server.name}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [choice], "usage": usage,
        }  # fmt: skip

    def _record(self, body: bytes) -> None:
        if self.path != "/health":
            self.server.seen.append(Seen(self.command, self.path, dict(self.headers), body))

    def _answer(self, status: int, data: dict[str, Any]) -> None:
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, chunks: int, gap: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for index in range(chunks):
            self._chunk(f"data: {json.dumps({'server': self.server.name, 'index': index})}\n\n".encode())
            time.sleep(gap)
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


@contextmanager
def serving(server: FakeServer) -> Iterator[FakeServer]:
    """The server, running until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Answer:
    """What a client got. `times` are seconds from the request to each event of a stream."""

    status: int
    headers: dict[str, str]
    body: bytes
    times: list[float] = field(default_factory=list)

    @property
    def data(self) -> Any:
        """The body, which must be JSON."""
        assert self.headers["content-type"].startswith("application/json"), self
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error, which must have the form of OpenAI's API."""
        error = self.data["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


@dataclass
class Client:
    """A client of the gateway."""

    port: int
    key: str | None = KEY

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        own = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            own["Content-Type"] = "application/json"
        start = time.monotonic()
        try:
            connection.request(method, path, body, {**own, **(headers or {})})
            response = connection.getresponse()
            lines, times = [], []
            while line := response.readline():
                lines.append(line)
                if line.startswith(b"data:"):
                    times.append(time.monotonic() - start)
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, b"".join(lines), times)
        finally:
            connection.close()

    def post(self, path: str, data: Any, headers: dict[str, str] | None = None) -> Answer:
        """A JSON body."""
        return self.send("POST", path, json.dumps(data).encode(), headers)

    def chat(self, model: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        """A chat with a model."""
        return self.post("/v1/chat/completions", {"model": model, "messages": [], **more}, headers)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """A path."""
        return self.send("GET", path, None, headers)
