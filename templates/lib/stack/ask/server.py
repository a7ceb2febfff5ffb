"""A client for one vLLM server: plain HTTP, finite times, no proxy.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from stack import JsonObject

MAX_BODY = 64 * 2**20
CONNECT_SECONDS = 5.0
_CHUNK = 2**16


class ServerError(Exception):
    """No usable answer: refused, too slow, cut off, too large, or not HTTP."""


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes

    def json(self) -> JsonObject:
        """The body as a JSON object."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise ServerError(f"the answer is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ServerError("the answer is not a JSON object")
        return value


class Event(NamedTuple):
    """One server-sent event and the seconds since the request."""

    seconds: float
    data: str


class Server:
    """One server. The key goes into a header and nowhere else."""

    def __init__(self, host: str, port: int, key: str | None, seconds: float) -> None:
        self.host = host
        self.port = port
        self._key = key
        self._seconds = seconds

    def with_key(self, key: str | None) -> Server:
        """The same server, asked with another key or none."""
        return Server(self.host, self.port, key, self._seconds)

    def within(self, seconds: float) -> Server:
        """The same server, asked with no more patience than so many seconds, and no less than one."""
        return Server(self.host, self.port, self._key, min(self._seconds, max(1.0, seconds)))

    def has_key(self, key: str | None) -> bool:
        """Whether it is asked with this key."""
        return self._key == key

    def request(self, method: str, path: str, body: JsonObject | None = None) -> Reply:
        """Ask and read the whole answer."""
        with self._send(method, path, body) as (response, _):
            content = bytearray()
            while chunk := response.read(_CHUNK):
                content += chunk
                if len(content) > MAX_BODY:
                    raise ServerError(f"{path}: the answer is larger than {MAX_BODY} bytes")
            if response.length:
                raise ServerError(f"{path}: the answer was cut off, {response.length} bytes are missing")
            return Reply(response.status, self._without_key(bytes(content)))

    def stream(self, path: str, body: JsonObject) -> Iterator[Event]:
        """Ask and yield every event as it arrives."""
        with self._send("POST", path, body) as (response, start):
            if response.status != 200:
                raise ServerError(f"HTTP {response.status}")
            size = 0
            while size <= MAX_BODY:
                line = response.readline(MAX_BODY)
                elapsed = time.monotonic() - start
                if not line:
                    return
                size += len(line)
                if line.startswith(b"data:"):
                    yield Event(elapsed, self._without_key(line[5:]).decode("utf-8", "replace").strip())
            raise ServerError(f"the stream is larger than {MAX_BODY} bytes")

    @contextmanager
    def _send(
        self, method: str, path: str, body: JsonObject | None
    ) -> Iterator[tuple[http.client.HTTPResponse, float]]:
        # Connecting is quick or hopeless; only the answer may take its time.
        connection = http.client.HTTPConnection(self.host, self.port, timeout=min(CONNECT_SECONDS, self._seconds))
        start = time.monotonic()
        late = threading.Event()
        try:
            connection.connect()
            connection.sock.settimeout(self._seconds)
            with _deadline(connection.sock, self._seconds, late):
                connection.request(method, path, None if body is None else json.dumps(body), self._headers(body))
                yield connection.getresponse(), start
        except (OSError, http.client.HTTPException, ServerError) as error:
            # An answer that the deadline has ended looks cut off.
            reason = self._late(path) if late.is_set() else _reason(path, error)
            raise ServerError(self._without_key(reason.encode()).decode()) from None
        finally:
            connection.close()
        if late.is_set():
            raise ServerError(self._late(path))

    def _without_key(self, said: bytes) -> bytes:
        # What a server says is printed and logged, and one that looks for a fault may say what it was asked with.
        return said if self._key is None else said.replace(self._key.encode(), b"[key]")

    def _late(self, path: str) -> str:
        return f"{path}: no whole answer in {self._seconds:g} s"

    def _headers(self, body: JsonObject | None) -> dict[str, str]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        return headers if self._key is None else {**headers, "Authorization": f"Bearer {self._key}"}


def _reason(path: str, error: Exception) -> str:
    return str(error) if isinstance(error, ServerError) else f"{path}: {str(error) or type(error).__name__}"


@contextmanager
def _deadline(connection: socket.socket, seconds: float, late: threading.Event) -> Iterator[None]:
    """End the connection when the time is up: a socket's own timeout begins anew with every byte that drips in."""

    def give_up() -> None:
        late.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
