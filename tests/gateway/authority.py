"""An authority that certifies by ACME (RFC 8555), as far as certbot needs one.

It believes every signature of a request, and no client that does not answer its challenge at the domain.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.gateway.certificates import make_pair

_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y")}
_WRONG = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "another answer", "status": 403}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authority(ThreadingHTTPServer):
    """Asks every domain at `http_port` of this machine, in place of port 80 of the domain."""

    daemon_threads = True

    def __init__(self, folder: Path, http_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.http_port = folder, http_port
        self.root = make_pair(folder / "root", "An authority of a test")
        self.thumbprint = ""
        self.names: list[str] = []
        self.tokens: dict[str, str] = {}
        self.proved: dict[str, str] = {}
        self.certificate: str | None = None
        self.asked = 0

    @property
    def url(self) -> str:
        """Of its directory."""
        return f"{self.base}/directory"

    @property
    def base(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def begin(self, names: list[str]) -> None:
        """A new order."""
        self.names, self.certificate = names, None
        self.tokens = {name: secrets.token_urlsafe(32) for name in names}
        self.proved = dict.fromkeys(names, "pending")

    def look(self, name: str) -> None:
        """Asks the domain for the answer to its challenge."""
        path = f"/.well-known/acme-challenge/{self.tokens[name]}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", headers={"Host": name})
        self.asked += 1
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found = answer.read().decode().strip()
        except urllib.error.URLError as error:
            found = str(error)
        self.proved[name] = "valid" if found == f"{self.tokens[name]}.{self.thumbprint}" else "invalid"

    def certify(self, request: bytes) -> None:
        """A certificate for a request in DER, with the names that it has."""
        file, made = self.folder / "request.der", self.folder / "certificate.pem"
        file.write_bytes(request)
        signer = ("-CA", str(self.root.certificate), "-CAkey", str(self.root.key), "-copy_extensions", "copy")
        words = ("-inform", "DER", "-in", str(file), "-days", "90", "-set_serial", str(secrets.randbits(100)))
        command = ("openssl", "x509", "-req", *words, *signer, "-out", str(made))
        subprocess.run(command, check=True, capture_output=True)
        self.certificate = made.read_text() + self.root.certificate.read_text()

    @property
    def order(self) -> dict[str, Any]:
        """The order as the client sees it."""
        status = "pending"
        if "invalid" in self.proved.values():
            status = "invalid"
        elif set(self.proved.values()) == {"valid"}:
            status = "ready" if self.certificate is None else "valid"
        certificate = {} if self.certificate is None else {"certificate": f"{self.base}/certificate"}
        return {
            "status": status,
            "expires": "2099-01-01T00:00:00Z",
            "identifiers": [{"type": "dns", "value": name} for name in self.names],
            "authorizations": [f"{self.base}/authorization/{name}" for name in self.names],
            "finalize": f"{self.base}/finalize",
            **certificate,
        }

    def authorization(self, name: str) -> dict[str, Any]:
        """What is known of a domain."""
        status = self.proved[name]
        known: dict[str, Any] = {"type": "http-01", "token": self.tokens[name], "status": status}
        known["url"] = f"{self.base}/challenge/{name}"
        if status == "invalid":
            known["error"] = _WRONG
        identifier = {"type": "dns", "value": name}
        return {"status": status, "identifier": identifier, "challenges": [known], "expires": "2099-01-01T00:00:00Z"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Authority

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(200)

    def do_GET(self) -> None:
        base = self.server.base
        names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
        self._answer(200, {name: f"{base}/{name}" for name in names} if self.path == "/directory" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        protected, payload = json.loads(_decoded(body["protected"])), _decoded(body["payload"])
        kind, _, name = self.path.strip("/").partition("/")
        getattr(self, f"_{kind}")(name, protected, json.loads(payload or b"{}"))

    def _newAccount(self, _: str, protected: Any, __: Any) -> None:  # noqa: N802 (as the protocol has it)
        key = protected["jwk"]
        members = {member: key[member] for member in _MEMBERS[key["kty"]]}
        own = json.dumps(members, separators=(",", ":"), sort_keys=True)
        self.server.thumbprint = _encoded(hashlib.sha256(own.encode()).digest())
        self._answer(201, {"status": "valid"}, Location=f"{self.server.base}/account")

    def _account(self, *_: Any) -> None:
        self._answer(200, {"status": "valid"})

    def _newOrder(self, _: str, __: Any, payload: Any) -> None:  # noqa: N802
        self.server.begin([each["value"] for each in payload["identifiers"]])
        self._answer(201, self.server.order, Location=f"{self.server.base}/order")

    def _order(self, *_: Any) -> None:
        self._answer(200, self.server.order, Location=f"{self.server.base}/order")

    def _authorization(self, name: str, *_: Any) -> None:
        self._answer(200, self.server.authorization(name))

    def _challenge(self, name: str, *_: Any) -> None:
        if self.server.proved[name] == "pending":
            self.server.look(name)
        challenge = self.server.authorization(name)["challenges"][0]
        self._answer(200, challenge, Link=f'<{self.server.base}/authorization/{name}>;rel="up"')

    def _finalize(self, _: str, __: Any, payload: Any) -> None:
        assert self.server.order["status"] == "ready"
        self.server.certify(_decoded(payload["csr"]))
        self._order()

    def _certificate(self, *_: Any) -> None:
        self._answer(200, self.server.certificate or "")

    def _answer(self, status: int, data: Any = None, **headers: str) -> None:
        text = (data if isinstance(data, str) else json.dumps(data)).encode() if data is not None else b""
        self.send_response(status)
        kind = "application/pem-certificate-chain" if isinstance(data, str) else "application/json"
        for name, value in {"Content-Type": kind, "Replay-Nonce": secrets.token_urlsafe(16), **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


@contextmanager
def certifying(folder: Path, http_port: int) -> Iterator[Authority]:
    """The authority, until the end of the block."""
    folder.mkdir(parents=True)
    authority = Authority(folder, http_port)
    thread = threading.Thread(target=authority.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield authority
    finally:
        authority.shutdown()
        authority.server_close()
        thread.join()
