"""Whatever is wrong with a request, the answer is JSON in the form of OpenAI's errors, and the log is lines of JSON."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.targets.gateway.errors import ERRORS
from tests.gateway.machine import Machine, gateway_plan, machine_with
from tests.gateway.servers import KEY, Answer

CHAT = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
KEYED = f"{CHAT}Authorization: Bearer {KEY}\r\n"
MODELS = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
LONG = "x" * 9000
RAW: dict[str, tuple[str, int]] = {
    "a long line": (f"GET /{LONG} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a long header": (f"{MODELS}X: {LONG}\r\n\r\n", 431),
    "a long header without a key": (f"GET /health HTTP/1.1\r\nHost: x\r\nCookie: {LONG}\r\n\r\n", 431),
    "many headers": (MODELS + "".join(f"X-{i}: {'y' * 900}\r\n" for i in range(60)) + "\r\n", 431),
    "no host": ("GET /health HTTP/1.1\r\n\r\n", 400),
    "two hosts": ("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a bad host": ("GET /health HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400),
    "no protocol": ("GET /health NONSENSE\r\n\r\n", 400),
    "HTTP/2": ("GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/3": ("GET /health HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/9": ("POST /v1/chat/completions HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    "a preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "an unknown coding": (f"{KEYED}Transfer-Encoding: gzip\r\n\r\n", 501),
    "two codings": (f"{KEYED}Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "a length and a coding": (f"{KEYED}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a bad length": (f"{KEYED}Content-Length: two\r\n\r\n", 400),
    "two lengths": (f"{KEYED}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}", 400),
    "a negative length": (f"{KEYED}Content-Length: -2\r\n\r\n", 400),
    "a length beyond all": (f"{KEYED}Content-Length: 99999999999\r\n\r\n", 413),
    "a length beyond numbers": (f"{KEYED}Content-Length: {'9' * 40}\r\n\r\n", 400),
    "a bad chunk": (f"{KEYED}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
    "chunks in HTTP/1.0": (f"{KEYED.replace('1.1', '1.0')}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a small method": ("get /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an unknown method": (f"BREW /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n", 405),
    "TRACE": ("TRACE /health HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "CONNECT": ("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", 400),
    "CONNECT to a path": ("CONNECT /health HTTP/1.1\r\nHost: example.org:443\r\n\r\n", 405),
    "a NUL": ("GET /health\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a NUL in a header": (f"{MODELS}X: a\0b\r\n\r\n", 400),
    "a bad header": (f"{MODELS}X Y: z\r\n\r\n", 400),
    "a folded header": (f"{MODELS}X: a\r\n b: c\r\n\r\n", 400),
    "an escape beyond the root": ("GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a bad escape": ("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a NUL escape": ("GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an unknown path": ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "an internal path": ("GET /denied HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "no key": ("GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 401),
    "no type": (f"{KEYED.replace('Content-Type: application/json', 'A: b')}Content-Length: 2\r\n\r\n{{}}", 415),
    "another type": (f"{KEYED.replace('application/json', 'text/html')}Content-Length: 2\r\n\r\n{{}}", 415),
    "an expectation": (f"{KEYED}Expect: 200-maybe\r\nContent-Length: 2\r\n\r\n{{}}", 400),
    "a condition": (f'{MODELS}If-Match: "x"\r\n\r\n', 412),
    "an upgrade": (f"{KEYED}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{{}}", 400),
    "an old protocol": ("GET /nowhere\r\n", 404),
}  # fmt: skip


def send_raw(machine: Machine, data: bytes) -> bytes:
    """Everything that comes back."""
    with socket.create_connection(("127.0.0.1", machine.port), timeout=20) as connection:
        connection.sendall(data)
        reply = b""
        try:
            while part := connection.recv(65536):
                reply += part
        except ConnectionResetError:
            pass  # nginx closes while more of the request is on its way
        return reply


def parsed(reply: bytes) -> Answer:
    """The answer; one of HTTP/0.9 is a body alone."""
    if not reply.startswith(b"HTTP/"):
        return Answer(0, {"content-type": "application/json"}, reply)
    top, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


@pytest.mark.parametrize("case", RAW)
def test_a_refusal_is_json(machine: Machine, case: str) -> None:
    text, status = RAW[case]
    before = sum(len(server.seen) for server in machine.servers.values())
    reply = send_raw(machine, text.encode("latin-1"))
    answer = parsed(reply)
    assert answer.status in (status, 0), reply
    assert answer.error["message"], reply
    assert b"<" not in reply.replace(b"text/html", b""), "no HTML"
    assert KEY.encode() not in reply
    assert sum(len(server.seen) for server in machine.servers.values()) == before


def test_a_client_that_speaks_tls_gets_json(machine: Machine) -> None:
    context, incoming, outgoing = ssl.create_default_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = context.wrap_bio(incoming, outgoing, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    assert parsed(send_raw(machine, outgoing.read())).error["code"] == "bad_request"


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([KEYED, MODELS, CHAT, "GET ", "POST /v1/chat/completions ", ""]),
    rest=st.text(st.characters(codec="latin-1"), max_size=60),
    end=st.sampled_from(["\r\n\r\n", "\n\n", " HTTP/1.1\r\nHost: x\r\n\r\n"]),
)
def test_no_request_gets_html(machine: Machine, start: str, rest: str, end: str) -> None:
    reply = send_raw(machine, f"{start}{rest}{end}\r\n\r\n".encode("latin-1"))
    if reply:
        answer = parsed(reply)
        assert answer.status != 200 or start == MODELS or "health" in rest
        if answer.status not in (200, 204):
            assert answer.error["code"], reply


def test_every_line_of_the_log_is_json_and_none_holds_a_query(nginx: str, tmp_path: Path) -> None:
    """Also where a server is down: nginx's own message would hold the request's line."""
    with machine_with(tmp_path, gateway_plan(requests_per_second=1, burst=20), ("coder",)) as machine:
        with machine.running():
            for text, _ in RAW.values():
                send_raw(machine, text.encode("latin-1"))
            machine.servers["coder"].breaks_off = True
            for model in ["coder", "general", "none"] * 10:
                machine.client.post(f"/v1/chat/completions?api_key={KEY}", {"model": model, "messages": []})
        log = machine.log.read_text()
        lines = [json.loads(line) for line in log.splitlines()]
        assert KEY not in log
        assert len(lines) >= len(RAW)
        assert {"502", "503", "429", "431", "505"} <= {line["status"] for line in lines}
        assert {"server_error", "server_unavailable"} <= {line["error"] for line in lines}


def test_each_status_that_nginx_answers_with_has_its_words() -> None:
    """Its own words are HTML: for a status that is missing here, a client would get them."""
    possible = {400, 401, 403, 404, 405, 408, 411, 412, 413, 414, 415, 429, 431, 500, 501, 502, 503, 504, 505, 507}
    assert ERRORS.keys() == possible


def test_who_says_nothing_is_let_go(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(), ()) as machine:
        config = machine.tree / "gateway/nginx.conf"
        text = config.read_text()
        assert "client_header_timeout 15s;" in text
        config.write_text(text.replace("client_header_timeout 15s;", "client_header_timeout 1s;"))
        with machine.running(), socket.create_connection(("127.0.0.1", machine.port), timeout=10) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost:")
            start = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
            assert time.monotonic() - start < 8
