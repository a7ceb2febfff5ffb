"""A container registry on 127.0.0.1 that speaks the distribution API: challenge, token, index, and faults."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
TOKEN = "anonymous-token-1"


def index(*machines: str) -> bytes:
    """An image for several kinds of machine."""
    parts = [
        {"mediaType": MANIFEST, "digest": f"sha256:{hashlib.sha256(each.encode()).hexdigest()}", "size": 7,
         "platform": {"os": "linux", "architecture": each}}
        for each in machines
    ]  # fmt: skip
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).encode()


def digest_of(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


@dataclass
class LoopbackRegistry:
    """What it has and how it fails.

    Attributes:
        images: manifests by `repository:tag`.
        fault: of manifests: a status, or a way to break the answer; `times` of them, then none.
        wants_token: whether it challenges, as the public registries do.
        asked: paths of all requests.
    """

    images: dict[str, bytes]
    fault: int | str | None = None
    times: int = 10**6
    headers: dict[str, str] = field(default_factory=dict)
    wants_token: bool = True
    realm: str = ""
    asked: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def serve(images: dict[str, bytes], **faults: object) -> Iterator[LoopbackRegistry]:
    """A registry that answers until the block ends."""
    registry = LoopbackRegistry(images, **faults)  # type: ignore[arg-type]
    handler = type("Handler", (_Handler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    registry.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    registry: LoopbackRegistry
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        registry, parts = self.registry, urlsplit(self.path)
        registry.asked.append(parts.path)
        if parts.path == "/token":
            self._token(parse_qs(parts.query))
        elif registry.wants_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            realm = registry.realm or f"http://{registry.host}/token"
            challenge = f'Bearer realm="{realm}",service="registry.test",scope="ignored"'
            self._answer(401, b"{}", {"WWW-Authenticate": registry.headers.get("WWW-Authenticate", challenge)})
        else:
            registry.credentials.append(self.headers.get("Authorization", ""))
            self._manifest(parts.path)

    def _token(self, query: dict[str, list[str]]) -> None:
        (scope,), (service,) = query["scope"], query["service"]
        is_right = service == "registry.test" and scope.startswith("repository:") and scope.endswith(":pull")
        self._answer(200 if is_right else 400, json.dumps({"access_token": TOKEN}).encode())

    def _manifest(self, path: str) -> None:
        registry = self.registry
        repository, _, tag = path.removeprefix("/v2/").partition("/manifests/")
        body = registry.images.get(f"{repository}:{tag}")
        if registry.fault is not None and registry.times > 0:
            registry.times -= 1
            self._fail(registry.fault, body or b"")
        elif body is None:
            self._answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        else:
            self._answer(200, body, {"Content-Type": INDEX, "Docker-Content-Digest": digest_of(body)})

    def _fail(self, fault: int | str, body: bytes) -> None:
        good = {"Content-Type": INDEX, "Docker-Content-Digest": digest_of(body)}
        match fault:
            case int():
                self._answer(fault, b"{}", self.registry.headers)
            case "wrong digest":
                self._answer(200, body, good | {"Docker-Content-Digest": digest_of(b"another")})
            case "html":
                self._answer(200, b"<html>", {"Content-Type": "text/html"})
            case "no index":
                self._answer(200, b"[1]", {"Content-Type": INDEX})
            case "long":
                self._answer(200, b"x" * ((4 << 20) + 1), {"Content-Type": INDEX})
            case "cut":
                self.send_response(200)
                self.send_header("Content-Length", str(len(body) + 9))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True
            case "drip":
                self._drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b" " * 100000)
            case "drip of headers":
                self._drip(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100000)
            case "endless":
                self._drip(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body, then=True)

    def _drip(self, data: bytes, *, then: bool = False) -> None:
        """A byte at a time, so that no silence ends it; `then`: all at once, and the connection stays open."""
        self.close_connection = True
        with suppress(OSError):
            for start in range(0, len(data), len(data) if then else 1):
                self.wfile.write(data[start : start + (len(data) if then else 1)])
                self.wfile.flush()
                if self.registry.closing.wait(0.02):
                    return
            while not self.registry.closing.wait(0.02):
                time.sleep(0)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)
