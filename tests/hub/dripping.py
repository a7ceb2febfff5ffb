"""A Hub that never falls silent and never comes to an end, in every place where an answer can do that."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PACE = 0.02

Drip = Callable[[], Iterator[bytes]]


def _forever(start: bytes, piece: bytes = b" ") -> Iterator[bytes]:
    yield start
    while True:
        yield piece


def body() -> Iterator[bytes]:
    return _forever(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")


def headers() -> Iterator[bytes]:
    return _forever(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")


def status() -> Iterator[bytes]:
    return _forever(b"HTTP/1.1 200 ", b"O")


def redirects() -> Iterator[bytes]:
    """Each comes soon, and none is the last."""
    for _ in range(5):
        yield b""
    yield b"HTTP/1.1 302 Found\r\nLocation: /api/models/acme/base\r\nContent-Length: 0\r\n\r\n"


def body_of_a_redirect() -> Iterator[bytes]:
    return _forever(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 5000\r\n\r\n")


def body_of_an_error() -> Iterator[bytes]:
    return _forever(b"HTTP/1.1 500 No\r\nContent-Length: 5000\r\n\r\n")


def packed() -> Iterator[bytes]:
    """Empty blocks: bytes that unpack to nothing."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n"
    yield head + packer.compress(b"{") + packer.flush(zlib.Z_SYNC_FLUSH)
    while True:
        yield packer.flush(zlib.Z_FULL_FLUSH)


def chunk_extension() -> Iterator[bytes]:
    return _forever(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", b"y")


def one_byte_chunks() -> Iterator[bytes]:
    return _forever(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")


def interim_answers() -> Iterator[bytes]:
    return _forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n")


def handshake() -> Iterator[bytes]:
    """The start of a TLS record, and more and more of it."""
    return _forever(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x00")


@contextmanager
def dripping(drip: Drip, scheme: str = "http") -> Iterator[str]:
    """The endpoint of a Hub all of whose answers drip like this."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        threads = [threading.Thread(target=_accept, args=(server, drip, ended))]
        threads[0].start()
        try:
            yield f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            threads[0].join()


def _accept(server: socket.socket, drip: Drip, ended: threading.Event) -> None:
    threads: list[threading.Thread] = []
    while not ended.is_set():
        with suppress(TimeoutError):
            connection, _ = server.accept()
            threads.append(threading.Thread(target=_serve, args=(connection, drip, ended)))
            threads[-1].start()
    for thread in threads:
        thread.join()


def _serve(connection: socket.socket, drip: Drip, ended: threading.Event) -> None:
    """Answer one request after another until the client goes."""
    connection.settimeout(0.05)
    with connection, suppress(ConnectionError):
        while not ended.is_set():
            with suppress(TimeoutError):
                if not connection.recv(1 << 16):
                    return
                for piece in drip():
                    if ended.is_set():
                        return
                    connection.sendall(piece)
                    time.sleep(PACE)
