"""However a Hub drips, a question to it ends in time; and the token stays on roads that nobody reads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from compiler.resolve.answers import AccessError, ClearTextError, MalformedError, SourceError, UnavailableError
from compiler.resolve.limits import LONGEST_RUN
from compiler.resolve.transport import client
from compiler.resolve.transport.endpoint import is_private
from compiler.resolve.transport.hub import Hub
from compiler.resolve.transport.wire.deadline import Attempt, LateError
from tests.hub import dripping as drips
from tests.hub.builders import FakeClock, repository
from tests.hub.dripping import Drip, dripping
from tests.hub.server import Fault, serve

TOKEN = "hf_thisIsNoRealToken"
# Enough for a healthy answer on a busy machine, and a hundredth of what the HTTP library's own limits would take.
SECONDS = 0.6
PATIENCE = 8.0

DRIPS = [
    drips.body, drips.headers, drips.status, drips.redirects, drips.body_of_a_redirect, drips.body_of_an_error,
    drips.packed, drips.chunk_extension, drips.one_byte_chunks, drips.interim_answers,
]  # fmt: skip


def asked(endpoint: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        Hub(endpoint, pause=0).repository("acme/base")
    return caught.value


@pytest.mark.parametrize("drip", DRIPS, ids=lambda drip: drip.__name__)
def test_an_answer_that_drips_ends_in_time(drip: Drip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SLOWEST", SECONDS)
    with dripping(drip) as endpoint:
        started = time.monotonic()
        error = asked(endpoint)
        took = time.monotonic() - started
    assert isinstance(error, UnavailableError)
    assert (error.code, error.message) == ("E0311", "the Hub answers too slowly")
    assert SECONDS <= took < PATIENCE


def test_a_tls_handshake_that_drips_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SLOWEST", SECONDS)
    with dripping(drips.handshake, "https") as endpoint:
        started = time.monotonic()
        assert asked(endpoint).message == "the Hub answers too slowly"
        assert time.monotonic() - started < PATIENCE


def test_tries_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tries there are, they are not as many times as long."""
    monkeypatch.setattr(client, "SLOWEST", 2.0)
    monkeypatch.setattr(client, "TIMEOUT", 0.2)
    monkeypatch.setattr(client, "TRIES", 100)
    with serve([repository("acme/base")], [Fault("/api/", "slow", detail="1")]) as server:
        started = time.monotonic()
        assert asked(server.url).message == "the Hub answers too slowly"
        assert time.monotonic() - started < PATIENCE
        assert len(server.requests) > 1


def test_nobody_is_left_reading_what_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SLOWEST", SECONDS)
    before = set(threading.enumerate())
    with dripping(drips.headers) as endpoint:
        asked(endpoint)
        left = [thread for thread in threading.enumerate() if thread not in before and thread.daemon]
        for thread in left:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in left)


def test_an_interrupt_ends_a_question_that_drips() -> None:
    with dripping(drips.body) as endpoint:
        hub = Hub(endpoint, pause=0)
        threading.Timer(0.1, hub.stop).start()
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="interrupted"):
            hub.repository("acme/base")
        assert time.monotonic() - started < PATIENCE


def test_a_run_asks_for_half_an_hour_in_all() -> None:
    clock = FakeClock()
    with serve([repository("acme/base")]) as server:
        hub = Hub(server.url, clock=clock)
        hub.repository("acme/base")
        clock.time += LONGEST_RUN
        with pytest.raises(UnavailableError, match="answers too slowly") as caught:
            hub.repository("acme/base")
        assert len(server.requests) == 1
    assert "this run has asked for 1800 s in all" in caught.value.notes[1]


def test_the_lock_stays_and_the_exit_code_is_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SLOWEST", SECONDS)
    spec, lock = tmp_path / "x.yaml", tmp_path / "x.lock.yaml"
    spec.write_text(
        "stack: x\nengine: {vllm: 0.33.0}\nnodes: {a: {gpus: {model: l40s}}}\n"
        "services: {s: {model: acme/base, context: 4K, port: 8000}}\n"
    )
    lock.write_text("what was there\n")
    with dripping(drips.body) as endpoint:
        environment = {"HF_ENDPOINT": endpoint, "XDG_CACHE_HOME": str(tmp_path)}
        result = CliRunner().invoke(cli, ["lock", str(spec)], env=environment)
    assert result.exit_code == 3
    assert "error[E0311]: the Hub answers too slowly" in result.output
    assert lock.read_text() == "what was there\n"


@pytest.mark.parametrize("words", ["deflate", "br", "gzip, gzip", "x"])
def test_an_encoding_that_nobody_asked_for(words: str) -> None:
    def answer() -> list[bytes]:
        return [f"HTTP/1.1 200 OK\r\nContent-Encoding: {words}\r\nContent-Length: 2\r\n\r\n{{}}".encode()]

    with dripping(lambda: iter(answer())) as endpoint:
        assert isinstance(asked(endpoint), MalformedError)


@pytest.mark.parametrize(
    "where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "//[", "/api/models/acme/base", ""]
)
def test_redirects_that_lead_nowhere(where: str) -> None:
    answer = f"HTTP/1.1 307 Moved\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()
    with dripping(lambda: iter([answer])) as endpoint:
        assert asked(endpoint).code == "E0311"


def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    from httpx2 import URL  # noqa: PLC0415

    from compiler.resolve.transport.wire.request import RedirectError, _check_redirect  # noqa: PLC0415

    _check_redirect(URL("https://huggingface.co/a"), URL("https://cdn.example/a"))
    _check_redirect(URL("http://127.0.0.1:1/a"), URL("http://127.0.0.1:2/a"))
    with pytest.raises(RedirectError, match=r"from https to http, to cdn\.example"):
        _check_redirect(URL("https://huggingface.co/a"), URL("http://cdn.example/a"))


@pytest.mark.parametrize(
    ("endpoint", "private"),
    [
        ("https://huggingface.co", True), ("HTTPS://mirror.example/hf", True), ("http://127.0.0.1:8901", True),
        ("http://127.9.9.9", True), ("http://localhost:1/x", True), ("http://[::1]:1", True),
        ("http://mirror.example", False), ("http://10.0.0.1", False), ("http://127.0.0.1.example", False),
        ("http://localhost@mirror.example", False), ("http://0.0.0.0", False), ("http://[2001:db8::1]", False),
    ],
)  # fmt: skip
def test_the_token_goes_where_nobody_reads_it(endpoint: str, private: bool) -> None:
    assert is_private(endpoint) is private
    if not private:
        with pytest.raises(ClearTextError) as caught:
            Hub(endpoint, TOKEN, pause=0).repository("acme/base")
        assert caught.value.code == "E0314"
        assert isinstance(caught.value, AccessError)
        assert TOKEN not in str((caught.value.message, caught.value.notes, caught.value.helps))


def test_a_saved_login_is_left_at_home_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with serve([repository("acme/base")]) as server:
        Hub(server.url).repository("acme/base")
        assert "authorization" not in {name.lower() for name in server.requests[0].headers}


def test_the_token_does_not_follow_a_redirect_to_another_host() -> None:
    with serve([repository("acme/base")]) as other:
        where = f"HTTP/1.1 307 Moved\r\nLocation: {other.url}/api/models/acme/base\r\nContent-Length: 0\r\n\r\n"
        with dripping(lambda: iter([where.encode()])) as endpoint:
            assert Hub(endpoint, TOKEN).repository("acme/base").name == "acme/base"
        assert "authorization" not in {name.lower() for name in other.requests[0].headers}


def test_an_answer_that_nobody_waits_for_is_closed() -> None:
    """A step of closing that raised would leave its connection to the garbage collector."""
    attempt = Attempt()
    attempt.give_up()
    for step in ("receive_response_body.failed", "response_closed.started", "response_closed.complete"):
        attempt.trace(f"http11.{step}", {})
    with pytest.raises(LateError):
        attempt.trace("http11.receive_response_headers.started", {})
