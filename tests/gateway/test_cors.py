"""Pages of the websites that the spec names may ask, those of others may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.machine import Machine, gateway_plan, machine_with
from tests.gateway.servers import KEY, Answer, Client

APP, LOCAL = "https://app.example.org", "http://localhost:3000"
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/models", "/v1/models/coder"]
OTHERS = [
    "https://evil.example.org", "null", "https://app.example.org.evil.org", "https://evil.org/https://app.example.org",
    "http://app.example.org", "https://app.example.org:8443", "https://app.example.org/", "http://localhost",
    "https://app.example.orgx", "xhttps://app.example.org", "https://app.example.org https://evil.example.org", "*",
]  # fmt: skip


@pytest.fixture(scope="module")
def open_machine(nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    plan = gateway_plan(cors_origins=(LOCAL, APP))
    with machine_with(tmp_path_factory.mktemp("cors"), plan) as one, one.running():
        yield one


def preflight(machine: Machine, path: str, origin: str | None, method: str = "POST") -> Answer:
    """What a browser asks before a page's request; it never has a key."""
    headers = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    return Client(machine.port, None).send(
        "OPTIONS", path, None, headers | ({} if origin is None else {"Origin": origin})
    )


def allowing(answer: Answer) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [APP, LOCAL])
def test_a_page_of_a_named_website_may_ask(open_machine: Machine, path: str, origin: str) -> None:
    method = "GET" if "models" in path else "POST"
    answer = preflight(open_machine, path, origin, method)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-api-key"} <= set(allowed)
    assert int(answer.headers["access-control-max-age"]) > 0
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [*OTHERS, None])
def test_a_page_of_another_website_may_not(open_machine: Machine, path: str, origin: str | None) -> None:
    answer = preflight(open_machine, path, origin)
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    assert not allowing(answer)


@pytest.mark.parametrize("origin", [APP, LOCAL])
def test_the_answer_itself_may_be_read_by_the_page(open_machine: Machine, origin: str) -> None:
    before = len(open_machine.servers["coder"].seen)
    for answer in (
        open_machine.client.chat("coder", {"Origin": origin}),
        open_machine.client.chat("coder", {"Origin": origin}, stream=True, gap=0.01),
        open_machine.client.get("/v1/models", {"Origin": origin}),
        open_machine.client.chat("none", {"Origin": origin}),
        Client(open_machine.port, "wrong-key-0").chat("coder", {"Origin": origin}),
        open_machine.client.send("POST", "/v1/completions", b"{}", {"Origin": origin, "Content-Type": "text/plain"}),
    ):
        assert answer.headers["access-control-allow-origin"] == origin
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        assert allowing(answer) == {"access-control-allow-origin", "access-control-expose-headers"}
        assert answer.headers["vary"] == "Origin"
    assert len(open_machine.servers["coder"].seen) == before + 2


@pytest.mark.parametrize("origin", OTHERS)
def test_the_answer_to_another_page_stays_closed(open_machine: Machine, origin: str) -> None:
    answer = open_machine.client.get("/v1/models", {"Origin": origin})
    assert not allowing(answer)
    assert answer.headers["vary"] == "Origin"


def test_a_client_that_is_no_browser_notices_nothing(open_machine: Machine) -> None:
    assert not allowing(open_machine.client.chat("coder"))
    # OPTIONS that is no preflight is a method like others, for those with a key.
    assert Client(open_machine.port, None).send("OPTIONS", "/v1/models", None, {"Origin": APP}).status == 401
    assert open_machine.client.send("OPTIONS", "/v1/models", None, {"Origin": APP}).status == 405


@pytest.mark.parametrize("origin", [APP, "null", None])
def test_without_the_key_of_the_spec_no_page_may_ask(machine: Machine, origin: str | None) -> None:
    for path in PATHS:
        answer = preflight(machine, path, origin)
        assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
        assert not allowing(answer)
    answer = machine.client.chat("coder", {} if origin is None else {"Origin": origin})
    assert answer.status == 200
    assert not allowing(answer)
    assert "vary" not in answer.headers


def test_every_website_may_be_asked_for_and_never_with_credentials(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(cors_origins=("*",))) as machine, machine.running():
        for origin in (APP, "https://anything.example.com", "null"):
            answer = preflight(machine, "/v1/chat/completions", origin)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "*")
            answer = machine.client.chat("coder", {"Origin": origin})
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
            assert "access-control-allow-credentials" not in answer.headers
            assert Client(machine.port, None).chat("coder", {"Origin": origin}).status == 401
        assert preflight(machine, "/v1/models", None).status == 403
        assert KEY not in machine.log.read_text()
