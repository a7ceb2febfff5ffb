"""Headers: a server sees those that vLLM reads, a client those that concern it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.machine import Machine, gateway_plan, machine_with
from tests.gateway.servers import BACKEND_KEY, KEY, Answer

# What vLLM 0.33.0 reads of a request, and what the gateway says itself.
FROM_CLIENT = {"accept", "content-type", "content-length", "x-session-id", "traceparent", "tracestate"}
FROM_GATEWAY = {
    "host", "connection", "authorization", "x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-stackc-client",
}  # fmt: skip
CONTROL = {
    "Connection": "close, X-Secret",
    "Cookie": f"key={KEY}",
    "Endpoint-Load-Metrics-Format": "TEXT",
    "Forwarded": "for=8.8.8.8;host=evil",
    "If-None-Match": "*",
    "Keep-Alive": "timeout=100",
    "Origin": "https://evil.example.org",
    "Proxy-Authorization": f"Bearer {KEY}",
    "Proxy-Connection": "keep-alive",
    "Range": "bytes=0-1",
    "Referer": "https://evil.example.org/",
    "TE": "trailers",
    "Trailer": "X-Secret",
    "Upgrade": "websocket",
    "Via": "1.1 evil",
    "X-Accel-Redirect": "/health",
    "X-Api-Key": KEY,
    "X-Data-Parallel-Rank": "1",
    "X-Forwarded-For": "8.8.8.8",
    "X-Forwarded-Host": "evil",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Proto": "https",
    "X-Http-Method-Override": "DELETE",
    "X-Original-Url": "/metrics",
    "X-Real-Ip": "8.8.8.8",
    "X-Request-Id": "forged",
    "X-Rewrite-Url": "/metrics",
    "X-Secret": "1",
    "X-Stackc-Client": "root",
    "X-Stackc-Service": "general",
    "X-Vllm-Priority": "-100",
}


def seen_by_server(machine: Machine) -> dict[str, str]:
    return {name.lower(): value for name, value in machine.servers["coder"].seen[-1].headers.items()}


def test_no_header_steers_a_server(machine: Machine) -> None:
    answer = machine.client.chat("coder", headers=CONTROL)
    seen = seen_by_server(machine)
    assert answer.status == 200
    assert seen.keys() <= FROM_CLIENT | FROM_GATEWAY
    assert seen["authorization"] == f"Bearer {BACKEND_KEY}"
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert seen["x-request-id"] == answer.headers["x-request-id"]
    assert seen["x-stackc-client"] == "alice"
    assert seen["host"] == f"127.0.0.1:{machine.servers['coder'].port}"
    assert seen["connection"] == "close"
    assert not [value for value in seen.values() if KEY in value or "evil" in value or "8.8.8.8" in value]


def test_what_vllm_reads_arrives(machine: Machine) -> None:
    own = {
        "Accept": "text/event-stream", "Content-Type": 'application/json; charset="utf-8"', "X-Session-Id": "s-1",
        "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate": "a=1,b=2",
    }  # fmt: skip
    assert machine.client.chat("coder", headers=own).status == 200
    seen = seen_by_server(machine)
    assert {name: seen[name.lower()] for name in own} == own


@pytest.mark.parametrize("named", ["X-Session-Id", "close, x-session-id", "traceparent,X-Session-Id , tracestate"])
def test_what_connection_names_ends_at_the_gateway(machine: Machine, named: str) -> None:
    own = {"Connection": named, "X-Session-Id": "s-1", "Traceparent": "00-1", "Tracestate": "a=1"}
    assert machine.client.chat("coder", headers=own).status == 200
    seen = seen_by_server(machine)
    named_ones = {name.strip().lower() for name in named.split(",")}
    assert {name for name in ("x-session-id", "traceparent", "tracestate") if name in seen}.isdisjoint(named_ones)
    assert ("tracestate" in seen) == ("tracestate" not in named_ones)


def test_what_a_client_does_not_send_is_not_made_up(machine: Machine) -> None:
    assert machine.client.chat("coder").status == 200
    assert seen_by_server(machine).keys() == {"content-type", "content-length"} | FROM_GATEWAY


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=30),
    value=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30),
)
def test_no_other_header_gets_through(machine: Machine, name: str, value: str) -> None:
    protected = FROM_CLIENT | {"host", "authorization", "transfer-encoding", "expect", "connection", "upgrade"}
    if name.lower() in protected:
        return
    assert machine.client.chat("coder", headers={name: value}).status in (200, 400, 412)
    assert seen_by_server(machine).keys() <= FROM_CLIENT | FROM_GATEWAY


HOSTILE_ANSWER = {
    "Server": "uvicorn",
    "X-Accel-Redirect": "/health",
    "X-Accel-Limit-Rate": "1",
    "X-Accel-Buffering": "yes",
    "X-Accel-Expires": "60",
    "X-Accel-Charset": "utf-7",
    "Set-Cookie": "a=b",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Credentials": "true",
    "Location": "https://evil.example.org/",
    "Refresh": "0; url=https://evil.example.org/",
    "Link": "<https://evil.example.org/>; rel=preload",
    "Alt-Svc": 'h2="evil.example.org:443"',
    "Strict-Transport-Security": "max-age=1",
    "WWW-Authenticate": "Basic realm=x",
    "X-Request-Id": "the server's own",
    "X-Stackc-Service": "forged",
    "X-Stackc-Client": "alice",
    "Endpoint-Load-Metrics": "kv=1",
    "X-Internal": "10.0.0.1",
    "Trailer": "X-Internal",
    "Keep-Alive": "timeout=5",
    "Clear-Site-Data": "*",
}
OWN = {
    "server", "date", "content-type", "content-length", "connection", "cache-control", "x-request-id",
    "x-stackc-service", "x-accel-buffering", "x-content-type-options", "retry-after",
}  # fmt: skip


@pytest.fixture
def hostile(nginx: str, tmp_path: Path) -> Iterator[tuple[Machine, list[str]]]:
    """A gateway before a server whose answer is what the list holds."""
    with machine_with(tmp_path, gateway_plan(), ("general",)) as machine, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", machine.plan.service("coder").port))
        listener.listen()
        head: list[str] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall("\r\n".join([*head, "Content-Length: 2", "", "{}"]).encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with machine.running():
            yield machine, head
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Oops", "503 Busy", "301 Moved"])
def test_a_server_says_nothing_in_headers_but_what_its_body_is(hostile: tuple[Machine, list[str]], status: str) -> None:
    machine, head = hostile
    lines = [f"{name}: {value}" for name, value in HOSTILE_ANSWER.items()]
    head[:] = [f"HTTP/1.1 {status}", *lines, "Content-Type: application/json", "Cache-Control: no-store"]
    answer = machine.client.chat("coder")
    assert (answer.status, answer.body) == (int(status[:3]), b"{}"), "X-Accel-Redirect must lead nowhere"
    assert answer.headers.keys() <= OWN
    assert answer.headers["x-stackc-service"] == "coder"
    assert answer.headers["x-request-id"] != "the server's own"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["server"] == "nginx"
    assert answer.headers["content-type"] == "application/json"


def test_a_server_that_answers_nonsense_is_a_502(hostile: tuple[Machine, list[str]]) -> None:
    machine, head = hostile
    for line in ("HTTP/1.1 200 OK\r\nX: a\0b", "HTTP/1.1 200 OK\r\nX: " + "y" * 70_000):
        head[:] = [line]
        answer = machine.client.chat("coder")
        assert isinstance(answer, Answer)
        assert (answer.status, answer.error["code"]) == (502, "server_error"), line[:40]


def test_a_method_override_is_none(machine: Machine) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", machine.port, timeout=10)
    connection.request("GET", "/v1/chat/completions", headers={"X-Http-Method-Override": "POST", "X-Api-Key": KEY})
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (405, "method_not_allowed")
    connection.close()
