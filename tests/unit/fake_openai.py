"""A server that answers as vLLM's API does, with texts that a test chooses."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], str]


class FakeOpenAI(ThreadingHTTPServer):
    """`answer` gets the body of a request and returns the text. `bodies` keeps what was asked."""

    daemon_threads = True

    def __init__(self, name: str, key: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = int(self.server_address[1])
        self.name = name
        self.key = key
        self.health = 200
        self.status = 200
        self.version = "0.33.0"
        self.finish = "stop"
        self.seconds = 0.0
        self.answer: Answer = lambda _: "Paris"
        self.bodies: list[dict[str, Any]] = []
        self.peak = 0
        self._running = 0
        self._lock = threading.Lock()

    @contextmanager
    def counted(self, body: dict[str, Any]) -> Iterator[None]:
        with self._lock:
            self.bodies.append(body)
            self._running += 1
            self.peak = max(self.peak, self._running)
        yield
        with self._lock:
            self._running -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of the test's business."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeOpenAI
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(self.server.health, {})
        elif self.path == "/version":
            self._send(200, {"version": self.server.version})
        elif self._is_allowed():
            self._send(200, {"object": "list", "data": [{"id": self.server.name}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_allowed():
            return
        with self.server.counted({**body, "path": self.path}):
            time.sleep(self.server.seconds)
            text = self.server.answer(body) if self.server.status == 200 else ""
        choice: dict[str, Any] = {"finish_reason": self.server.finish}
        choice |= {"message": {"content": text}} if "messages" in body else {"text": text}
        self._send(self.server.status, {"choices": [choice]} if self.server.status == 200 else {"error": "no room"})

    def _is_allowed(self) -> bool:
        if self.server.key is None or self.headers["Authorization"] == f"Bearer {self.server.key}":
            return True
        self._send(401, {"error": "Unauthorized"})
        return False

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(name: str, key: str | None) -> Iterator[FakeOpenAI]:
    """A running server."""
    with FakeOpenAI(name, key) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()
