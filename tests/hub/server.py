"""A Hub on 127.0.0.1: the API's paths, status codes, headers, redirects and ranges, over recorded facts.

`python -m tests.hub.server --port 8901` serves tests/hub/recorded and prints the URL to give to HF_ENDPOINT.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.recordings import RECORDED, Recording, read_recordings

FaultKind = Literal[
    "bad_date",  # a rate limit that ends at a date, from a server whose clock is years off
    "cut",  # the connection ends in the middle of the body
    "damaged",  # a file of the right size with other bytes
    "disabled",
    "gated",
    "half",  # the connection ends in the middle of a file whose bytes so far were right
    "html",  # 200, and a page where JSON should be
    "ignore_range",  # 200 with the whole file
    "json",  # 200, and JSON of another form
    "rate_limit",
    "reset",  # the connection ends before an answer
    "retry_after",
    "server_error",
    "slow",  # a byte, and then silence
    "unauthorised",
    "wrong_range",  # 206 with another part of the file
]

_RESOLVE = re.compile(r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_CDN = re.compile(r"/cdn/(?P<repo>[^/]+(?:/[^/@]+)?)(?:@(?P<revision>[^/]+))?/-/(?P<path>.+)")
_INFO = re.compile(r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)(?:/revision/(?P<revision>.+))?")
_REFS = re.compile(r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/refs")
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/tree/(?P<revision>[^/]+)")
_RANGE = re.compile(r"bytes=(?P<start>\d+)-(?P<last>\d*)")


@dataclass
class Fault:
    """Answers whose path and query match `path` fail this way, `times` times or always."""

    path: str
    kind: FaultKind
    times: int | None = None
    detail: str = ""

    def take(self, target: str) -> bool:
        if self.times == 0 or re.search(self.path, target) is None:
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Request:
    """One request as it came in."""

    path: str
    headers: dict[str, str]


class LoopbackHub(ThreadingHTTPServer):
    """The server. `requests` is everything that was asked of it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, recordings: Iterable[Recording], faults: Iterable[Fault] = (), port: int = 0, *, latency: float = 0.0
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.repositories = {recording.repo: recording for recording in recordings}
        self.renamed = {old: new.repo for new in self.repositories.values() for old in new.renamed_from}
        self.faults = list(faults)
        self.latency = latency
        self.requests: list[Request] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self, pattern: str) -> list[str]:
        """Paths of the requests so far that match."""
        return [request.path for request in self.requests if re.search(pattern, request.path)]

    def handle_error(self, request: object, client_address: object) -> None:
        # Clients that stop reading in the middle are what some tests are about.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@dataclass
class _Body:
    content: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet, or every answer waits 40 ms for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests.append(Request(self.path, dict(self.headers.items())))
            fault = next((fault for fault in self.server.faults if fault.take(self.path)), None)
        time.sleep(self.server.latency)
        if fault is not None:
            _FAULTS[fault.kind](self, fault)
        else:
            self.answer()

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        if path == "/api/models":
            self.send_json(200, self._listing(query))
        elif match := _REFS.fullmatch(path):
            recording = self._repository(match["repo"], None)
            if recording is not None:
                self.send_json(200, recording.refs())
        elif match := _TREE.fullmatch(path):
            recording = self._repository(match["repo"], match["revision"])
            if recording is not None:
                self.send_json(200, recording.tree())
        elif match := _INFO.fullmatch(path):
            self._info(match["repo"], match["revision"], blobs=query.get("blobs") is not None)
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(match["repo"], match["revision"], match["path"])
        elif _CDN.fullmatch(path):
            # The CDN asks for no token: its addresses are secret and short-lived.
            self.send_file(*self.stored(path))
        else:
            self.send_error_code(404, "", "not found")

    def stored(self, path: str) -> tuple[bytes, dict[str, str]]:
        """A file of the CDN, and the headers that say which one it is."""
        match = _CDN.fullmatch(path)
        recording = self.server.repositories[match["repo"]].at(match["revision"]) if match else None
        if match is None or recording is None:
            return b"", {}
        return recording.contents[match["path"]], _file_headers(recording, match["path"])

    def _listing(self, query: dict[str, list[str]]) -> list[dict[str, object]]:
        found = [recording.info(blobs=False) for recording in self.server.repositories.values()]
        if "filter" in query:
            found = [info for info in found if query["filter"][0] in info["tags"]]
        if "author" in query:
            found = [info for info in found if info["author"].lower() == query["author"][0].lower()]
        if "search" in query:
            found = [info for info in found if query["search"][0].lower() in info["id"].lower()]
        return found[: int(query.get("limit", ["1000"])[0])]

    def _info(self, repo: str, revision: str | None, *, blobs: bool) -> None:
        if repo in self.server.renamed:
            self.redirect(307, f"/api/models/{self.server.renamed[repo]}?{urlsplit(self.path).query}")
        elif (recording := self._repository(repo, revision)) is not None:
            self.send_json(200, recording.info(blobs=blobs))

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        recording = self._repository(repo, revision)
        if recording is None:
            return
        if recording.gated and not self._may_read(recording):
            self.send_error_code(
                401 if "Authorization" not in self.headers else 403, "GatedRepo", "Access is restricted"
            )
        elif path not in recording.contents:
            self.send_error_code(404, "EntryNotFound", "Entry not found")
        else:
            at = "" if recording is self.server.repositories[repo] else f"@{recording.commit}"
            self.redirect(302, f"/cdn/{repo}{at}/-/{path}", _file_headers(recording, path))

    def _may_read(self, recording: Recording) -> bool:
        return recording.secret is None or self.headers.get("Authorization") == f"Bearer {recording.secret}"

    def _repository(self, repo: str, revision: str | None) -> Recording | None:
        recording = self.server.repositories.get(repo)
        if recording is None or not (recording.gated or self._may_read(recording)):
            self.send_error_code(404, "RepoNotFound", "Repository not found")
            return None
        found = recording.at(revision)
        if found is None:
            self.send_error_code(404, "RevisionNotFound", "Invalid rev id: " + str(revision))
        return found

    def send_file(self, content: bytes, about: dict[str, str]) -> None:
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted is None:
            self.send_body(200, _Body(content, "application/octet-stream", about))
            return
        start, last = int(wanted["start"]), min(int(wanted["last"] or len(content)), len(content) - 1)
        if start > last:
            self.send_body(416, _Body(b"", headers={"Content-Range": f"bytes */{len(content)}"}))
            return
        headers = {"Content-Range": f"bytes {start}-{last}/{len(content)}", **about}
        self.send_body(206, _Body(content[start : last + 1], "application/octet-stream", headers))

    def send_json(self, status: int, value: object) -> None:
        self.send_body(status, _Body(json.dumps(value).encode()))

    def send_error_code(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.send_body(status, _Body(json.dumps({"error": message}).encode(), headers=headers))

    def redirect(self, status: int, where: str, headers: dict[str, str] | None = None) -> None:
        self.send_body(status, _Body(b"", headers={**(headers or {}), "Location": where}))

    def send_body(self, status: int, body: _Body, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", body.content_type)
        self.send_header("Content-Length", str(len(body.content) if length is None else length))
        for name, value in body.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Stay silent: what was asked is in `LoopbackHub.requests`."""


def _file_headers(recording: Recording, path: str) -> dict[str, str]:
    """What the Hub says of a file that it stores elsewhere."""
    name = recording.hash_of(path)
    return {
        "X-Repo-Commit": recording.commit or "",
        "X-Linked-Etag": f'"{name}"',
        "X-Linked-Size": str(len(recording.contents[path])),
        "ETag": f'"{name}"',
    }


def _server_error(handler: _Handler, fault: Fault) -> None:
    handler.send_error_code(500, "", fault.detail or "Internal Error - We're working hard to fix this")


def _rate_limit(handler: _Handler, fault: Fault) -> None:
    headers = {"RateLimit": f'"api";r=0;t={fault.detail or 55}', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    handler.send_body(429, _Body(b'{"error": "We had to rate limit you"}', headers=headers))


def _retry_after(handler: _Handler, fault: Fault) -> None:
    handler.send_body(429, _Body(b'{"error": "We had to rate limit you"}', headers={"Retry-After": fault.detail}))


def _bad_date(handler: _Handler, fault: Fault) -> None:
    # The client must take the difference of the two.
    body = b'{"error": "We had to rate limit you"}'
    handler.send_response_only(429)
    handler.send_header("Date", "Thu, 01 Jan 2004 00:00:00 GMT")
    handler.send_header("Retry-After", "Thu, 01 Jan 2004 00:00:09 GMT")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _slow(handler: _Handler, fault: Fault) -> None:
    handler.send_body(200, _Body(b"{"), length=4096)
    handler.wfile.flush()
    time.sleep(float(fault.detail or 1))
    handler.close_connection = True


def _disabled(handler: _Handler, fault: Fault) -> None:
    handler.send_error_code(403, "", "Access to this resource is disabled.")


def _gated(handler: _Handler, fault: Fault) -> None:
    handler.send_error_code(403, "GatedRepo", "Access to this model is restricted")


def _unauthorised(handler: _Handler, fault: Fault) -> None:
    handler.send_error_code(401, fault.detail, "Invalid credentials in Authorization header")


def _html(handler: _Handler, fault: Fault) -> None:
    handler.send_body(200, _Body(b"<html>maintenance</html>", "text/html"))


def _json(handler: _Handler, fault: Fault) -> None:
    handler.send_body(200, _Body(fault.detail.encode()))


def _cut(handler: _Handler, fault: Fault) -> None:
    handler.send_body(200, _Body(b'{"id": "half'), length=4096)
    handler.close_connection = True


def _half(handler: _Handler, fault: Fault) -> None:
    content, about = handler.stored(unquote(urlsplit(handler.path).path))
    half = content[: len(content) // 2] if handler.command == "GET" else content
    handler.send_body(200, _Body(half, "application/octet-stream", about), length=len(content))
    handler.close_connection = True


def _damaged(handler: _Handler, fault: Fault) -> None:
    content, about = handler.stored(unquote(urlsplit(handler.path).path))
    handler.send_file(content[:-1] + bytes([content[-1] ^ 1]), about)


def _reset(handler: _Handler, fault: Fault) -> None:
    # An immediate RST instead of an orderly end.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def _ignore_range(handler: _Handler, fault: Fault) -> None:
    del handler.headers["Range"]
    handler.answer()


def _wrong_range(handler: _Handler, fault: Fault) -> None:
    headers = {"Content-Range": "bytes 4096-8191/1000000"}
    handler.send_body(206, _Body(b"\0" * 4096, "application/octet-stream", headers))


_FAULTS: dict[FaultKind, Callable[[_Handler, Fault], None]] = {
    "bad_date": _bad_date,
    "cut": _cut,
    "damaged": _damaged,
    "disabled": _disabled,
    "gated": _gated,
    "half": _half,
    "html": _html,
    "ignore_range": _ignore_range,
    "json": _json,
    "rate_limit": _rate_limit,
    "reset": _reset,
    "retry_after": _retry_after,
    "server_error": _server_error,
    "slow": _slow,
    "unauthorised": _unauthorised,
    "wrong_range": _wrong_range,
}


@contextmanager
def serve(
    recordings: Path | Iterable[Recording] = RECORDED,
    faults: Iterable[Fault] = (),
    port: int = 0,
    *,
    latency: float = 0.0,
) -> Iterator[LoopbackHub]:
    """Run a loopback Hub; its `url` is the endpoint, and every answer comes `latency` seconds late."""
    known = read_recordings(recordings) if isinstance(recordings, Path) else recordings
    with LoopbackHub(known, faults, port, latency=latency) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--recorded", type=Path, default=RECORDED, help="folder of recorded repositories")
    options = parser.parse_args(arguments)
    with LoopbackHub(read_recordings(options.recorded), port=options.port) as hub:
        print(hub.url, flush=True)  # noqa: T201 - the caller reads it
        try:
            hub.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
