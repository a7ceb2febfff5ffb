"""vLLM's own code, with the values of an emitted script, fetches nothing that the spec does not name."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compiler.engines.vllm.host.doors import FIXED_VARIABLES, NO_DOMAIN, OF_STAGES_ON_CPU
from compiler.engines.vllm.launch import _shut
from tests.engine.engine_process import CPU_RELEASE, PLAIN_RELEASES, engine_python, parser_environment

pytestmark = pytest.mark.engine

ORACLE = Path(__file__).with_name("media_oracle.py")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = b"".join(
    (
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")),
        chunk(b"IEND", b""),
    )
)


class Pictures(ThreadingHTTPServer):
    """A host of the private network: `/away` leads to `/secret`, everything else is a picture."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Pictures

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        leads_away = self.path == "/away"
        self.send_response(302 if leads_away else 200)
        if leads_away:
            self.send_header("Location", self.server.url("/secret"))
        body = b"" if leads_away else PNG
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    with Pictures() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def answers(version: str, environment: dict[str, str], *questions: dict[str, Any]) -> list[str]:
    """What the connector of a release makes of each URL."""
    text = "".join(json.dumps(question) + "\n" for question in questions)
    command = [str(engine_python()), str(ORACLE)]
    variables = parser_environment(version) | environment
    done = subprocess.run(command, input=text, env=variables, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout.splitlines()[-len(questions) :]


@pytest.mark.parametrize("version", [CPU_RELEASE, *PLAIN_RELEASES])
def test_a_server_fetches_what_the_spec_names_and_nothing_else(version: str, pictures: Pictures) -> None:
    environment = _shut((), None)
    assert environment.keys() == FIXED_VARIABLES - OF_STAGES_ON_CPU.keys()
    inside = "data:image/png;base64," + base64.b64encode(PNG).decode()
    away, here = pictures.url("/away"), pictures.url("/picture")
    shut, data, upper, named, redirected, other = answers(
        version,
        environment,
        {"domains": [NO_DOMAIN], "url": here},
        {"domains": [NO_DOMAIN], "url": inside},
        {"domains": [NO_DOMAIN], "url": here.replace("http", "HTTP")},
        {"domains": ["127.0.0.1"], "url": here},
        {"domains": ["127.0.0.1"], "url": away},
        {"domains": ["images.example.org"], "url": here},
    )
    assert (data, named) == ("ok", "ok")
    assert {shut.partition(":")[0], upper.partition(":")[0], other.partition(":")[0]} == {"ValueError"}
    assert redirected != "ok"
    assert pictures.seen == ["/picture", "/away"], "it asked where it must not, or followed"


def test_left_alone_it_would_fetch_anything_and_follow(pictures: Pictures) -> None:
    """What the values are for: without them the same questions are answered."""
    away, here = pictures.url("/away"), pictures.url("/picture")
    found = answers(CPU_RELEASE, {}, {"domains": [], "url": here}, {"domains": [], "url": away})
    assert found == ["ok", "ok"]
    assert pictures.seen == ["/picture", "/away", "/secret"]
