"""Bounded GET requests: in seconds over all, in bytes, and in where a redirect may lead.

A timeout of a socket ends a silence, not an answer that drips. Each connection is therefore shut by a timer when the
time is over, whether it is in the middle of a handshake, of a header or of a body.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from compiler.resolve.answers import MalformedError, UnavailableError, plain
from compiler.resolve.limits import TIMEOUT
from compiler.resolve.registry.reference import is_loopback

_REDIRECTS = 3
_REDIRECTED = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class Deadline:
    """A moment after which nothing of this run is waited for any more."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> UnavailableError:
        """What is said then."""
        helps = ("try again later",)
        return UnavailableError("the registries answer too slowly", (f"{self._seconds:g} s have passed",), helps)


class _Watch:
    """Connections of one request, which end when the time is over."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._sockets: list[socket.socket] = []

    def connect(self, *arguments: Any, **options: Any) -> socket.socket:
        """A new connection, also known by a second handle: TLS takes the first one away while it greets."""
        opened = socket.create_connection(*arguments, **options)
        if self._deadline.left <= 0:
            opened.close()
            raise TimeoutError
        self._sockets.append(opened.dup())
        return opened

    @contextmanager
    def running(self) -> Iterator[None]:
        """Shut what is open when the time is over."""
        timer = threading.Timer(self._deadline.left, self._shut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            for each in self._sockets:
                each.close()

    def _shut(self) -> None:
        for each in self._sockets:
            with suppress(OSError):  # it has ended by itself
                each.shutdown(socket.SHUT_RDWR)


def get(url: str, headers: Mapping[str, str], deadline: Deadline, limit: int) -> Answer:
    """GET, over redirects that stay safe. `Authorization` goes to the host that was asked and to no other.

    Raises:
        SourceError: no whole answer came in time, or one that is too long.
    """
    sent = dict(headers)
    for _ in range(_REDIRECTS + 1):
        answer = _once(url, sent, deadline, limit)
        if answer.status not in _REDIRECTED:
            return answer
        target = urljoin(url, answer.headers.get("location", ""))
        if urlsplit(target).netloc != urlsplit(url).netloc:
            sent.pop("Authorization", None)
        url = target
    raise MalformedError("a registry redirects without end", (f"asked {plain(url)}",))


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.netloc))


def _once(url: str, headers: Mapping[str, str], deadline: Deadline, limit: int) -> Answer:
    if not _is_safe(url):
        raise MalformedError("a registry leads to an address that is not https", (plain(url),))
    if deadline.left <= 0:
        raise deadline.passed
    watch = _Watch(deadline)
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310  its scheme was looked at
    try:
        with watch.running(), _opener(url, watch).open(request, timeout=min(TIMEOUT, deadline.left)) as response:
            answer = _answer(url, response, limit)
    except urllib.error.HTTPError as error:
        with error:
            answer = Answer(url, error.code, _lower(error.headers), b"")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if deadline.left <= 0:
            raise deadline.passed from error
        note = f"asked {plain(url)}: {type(error).__name__}: {plain(error)}"
        raise UnavailableError(
            "the registry cannot be reached", (note,), ("check the network and the proxy",)
        ) from error
    # A body without a length that was cut by the timer looks whole.
    if deadline.left <= 0:
        raise deadline.passed
    return answer


def _answer(url: str, response: Any, limit: int) -> Answer:
    body = bytearray()
    # One read of the socket at a time, however little it brings.
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise MalformedError("the registry's answer is too long", (f"more than {limit} bytes from {plain(url)}",))
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return Answer(url, response.status, _lower(response.headers), bytes(body))


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


class _Direct(urllib.request.HTTPRedirectHandler):
    """Redirects are answers here: `get` judges where they lead."""

    def redirect_request(self, *_: object) -> None:
        return None


def _opener(url: str, watch: _Watch) -> urllib.request.OpenerDirector:
    """Honours the proxies of the environment, but for this machine, and connects under watch."""

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(partial(_plain_connection, watch), req)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(partial(_secure_connection, watch), req)

    proxies = urllib.request.ProxyHandler({} if is_loopback(urlsplit(url).netloc) else None)
    return urllib.request.build_opener(proxies, Plain, Secure, _Direct)


def _plain_connection(watch: _Watch, host: str, **options: Any) -> http.client.HTTPConnection:
    return _watched(http.client.HTTPConnection(host, **options), watch)


def _secure_connection(watch: _Watch, host: str, **options: Any) -> http.client.HTTPConnection:
    return _watched(http.client.HTTPSConnection(host, context=ssl.create_default_context(), **options), watch)


def _watched(connection: http.client.HTTPConnection, watch: _Watch) -> http.client.HTTPConnection:
    # Its one way to open a socket; a test with a registry that drips fails if another Python has another one.
    connection._create_connection = watch.connect  # type: ignore[attr-defined]  # noqa: SLF001
    return connection
