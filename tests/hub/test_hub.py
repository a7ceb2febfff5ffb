"""The client's side of every failure, and what is sent and read on the way."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from compiler.cli.progress import Lines
from compiler.lock.models import ModelFacts
from compiler.resolve.answers import (
    AccessError,
    MalformedError,
    MissingError,
    Repository,
    SourceError,
    UnavailableError,
)
from compiler.resolve.reading.facts import read_facts
from compiler.resolve.transport import client
from compiler.resolve.transport.endpoint import source_name
from compiler.resolve.transport.hub import Hub
from compiler.resolve.transport.patience import Patience
from tests.hub.builders import COMMIT, FakeClock, header, repository
from tests.hub.recordings import Recording
from tests.hub.server import Fault, FaultKind, LoopbackHub, serve

TOKEN = "hf_thisIsNoRealToken"


def ask(hub: LoopbackHub, token: str | None = None) -> Repository:
    return Hub(hub.url, token, pause=0).repository("acme/base")


def facts_of(hub: Hub) -> ModelFacts:
    found = hub.repository("acme/base")
    return read_facts(found, hub.reader(found))


def failure(faults: list[Fault], recording: Recording | None = None) -> SourceError:
    """What reading a repository fails with."""
    with serve([recording or repository("acme/base")], faults) as server, pytest.raises(SourceError) as caught:
        facts_of(Hub(server.url, TOKEN, clock=FakeClock()))
    error = caught.value
    assert TOKEN not in f"{error.message}{error.notes}{error.helps}"
    assert all("\n" not in line and "\x1b" not in line for line in (error.message, *error.notes, *error.helps))
    return error


@pytest.mark.parametrize(
    ("kind", "expected", "code"),
    [
        ("gated", AccessError, "E0312"),
        ("disabled", AccessError, "E0312"),
        ("unauthorised", AccessError, "E0312"),
        ("rate_limit", UnavailableError, "E0311"),
        ("server_error", UnavailableError, "E0311"),
        ("cut", UnavailableError, "E0311"),
        ("reset", UnavailableError, "E0311"),
        ("html", MalformedError, "E0311"),
    ],
)
@pytest.mark.parametrize("path", ["/api/models/", "/cdn/acme/base/-/config.json"])
def test_every_failure_has_its_own_error(kind: FaultKind, expected: type[SourceError], code: str, path: str) -> None:
    error = failure([Fault(path, kind)])
    assert type(error) is expected
    assert error.code == code
    if kind != "html":
        assert any("acme/base" in note for note in error.notes)


@pytest.mark.parametrize(
    "answer",
    ["[]", "null", "{}", '{"id": 5}', '{"id": "a\\u001b[31m/b"}', '{"id": "acme/base", "siblings": [{}]}',
     '{"id": "acme/base", "siblings": [{"rfilename": "a\\nb"}]}', '{"id": "acme/base", "gated": "perhaps"}',
     '{"id": "acme/base", "siblings": [{"rfilename": "a", "size": -1}]}', "{" * 100_000,
     '{"id": "acme/base", "siblings": 5}', '{"id": "acme/base", "siblings": [[]]}',
     '{"id": "acme/base", "siblings": [{"rfilename": "a", "lfs": []}, {"rfilename": "b", "lfs": [1]}]}',
     '{"id": "acme/base", "siblings": [{"rfilename": "a", "lfs": {"sha256": "$(id)"}}]}'],
)  # fmt: skip
def test_json_of_another_form(answer: str) -> None:
    assert isinstance(failure([Fault("/api/models/acme", "json", detail=answer)]), MalformedError)


def test_missing_models_say_that_private_ones_look_the_same() -> None:
    with serve([]) as server, pytest.raises(MissingError) as caught:
        ask(server)
    assert caught.value.code == "E0310"
    assert any("private" in note for note in caught.value.notes)


@pytest.mark.parametrize(
    ("token", "code", "message"),
    [(TOKEN, "E0312", "the Hub does not accept the token"), (None, "E0310", "the Hub has no model `acme/base`")],
)
def test_a_token_that_the_hub_does_not_know_is_not_a_missing_model(token: str | None, code: str, message: str) -> None:
    fault = Fault("/api/", "unauthorised", detail="RepoNotFound")
    with serve([repository("acme/base")], [fault]) as server, pytest.raises(SourceError) as caught:
        ask(server, token)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_a_rate_limit_is_waited_for_as_told() -> None:
    clock, lines = FakeClock(), io.StringIO()
    with serve([repository("acme/base")], [Fault("/api/", "rate_limit", times=1)]) as server:
        assert Hub(server.url, progress=Lines(lines), clock=clock).repository("acme/base").commit == COMMIT
    assert clock.slept == [56]
    assert lines.getvalue() == "the Hub limits the rate of requests; waiting 56 s, as it asks\n"


@pytest.mark.parametrize(
    ("after", "slept", "says"),
    [("7", [8], None), ("999999", [], "try again in 1000000 s"), ("soon", [], "try again in some minutes")],
)
def test_the_hub_may_say_in_another_header_when_to_come_back(after: str, slept: list[float], says: str | None) -> None:
    clock = FakeClock()
    faults = [Fault("/api/", "retry_after", times=1, detail=after)]
    with serve([repository("acme/base")], faults) as server:
        hub = Hub(server.url, clock=clock)
        if says is None:
            assert hub.repository("acme/base").commit == COMMIT
        else:
            with pytest.raises(UnavailableError) as caught:
                hub.repository("acme/base")
            assert caught.value.helps[0] == says
    assert clock.slept == slept


def test_waits_are_bounded_in_all_and_then_told() -> None:
    clock = FakeClock()
    with serve([repository("acme/base")], [Fault("/api/", "rate_limit", detail="25")]) as server:
        with pytest.raises(UnavailableError) as caught:
            Hub(server.url, clock=clock).repository("acme/base")
        assert len(server.requests) == 3
    assert clock.slept == [26, 26]
    assert caught.value.helps[0] == "try again in 26 s"


def test_a_date_counts_by_the_servers_own_clock() -> None:
    clock = FakeClock()
    with serve([repository("acme/base")], [Fault("/api/", "bad_date", times=1)]) as server:
        Hub(server.url, clock=clock).repository("acme/base")
    assert clock.slept == [10]


def test_waits_at_the_same_time_count_once() -> None:
    class Stopped(FakeClock):
        def sleep(self, seconds: float) -> None:
            self.slept.append(seconds)

    lines: list[str] = []
    patience = Patience(lines.append, Stopped(), budget=60)
    assert [patience.wait(50), patience.wait(50), patience.wait(60), patience.wait(61)] == [True, True, True, False]
    assert len(lines) == 2


def test_an_interrupt_ends_waits() -> None:
    patience = Patience(lambda _: None)
    threading.Timer(0.05, patience.stop).start()
    started = time.monotonic()
    assert not patience.wait(30)
    assert time.monotonic() - started < 10


def test_a_hub_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.1)
    error = failure([Fault("/api/", "slow")])
    assert isinstance(error, UnavailableError)
    assert "ReadTimeout" in error.notes[1]


def test_a_hub_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SLOWEST", -1.0)
    assert failure([]).message == "the Hub answers too slowly"


@pytest.mark.parametrize(("token", "fine"), [(None, False), ("hf_wrong", False), (TOKEN, True)])
@pytest.mark.parametrize("gated", [False, "manual"])
def test_a_token_opens_what_it_may(token: str | None, gated: bool | str, fine: bool) -> None:
    with serve([repository("acme/base", gated=gated, secret=TOKEN)]) as server:
        if fine:
            assert facts_of(Hub(server.url, token)).gated == gated
            return
        with pytest.raises(SourceError) as caught:
            facts_of(Hub(server.url, token))
    assert caught.value.code == ("E0312" if gated else "E0310")
    assert str(token) not in str((caught.value.message, caught.value.notes, caught.value.helps))


def test_a_passing_failure_is_tried_again() -> None:
    faults = [Fault("/api/", "server_error", times=1), Fault("/api/", "reset", times=1)]
    with serve([repository("acme/base")], faults) as server:
        assert ask(server).commit == COMMIT
        assert len(server.requests) == 3


def test_words_of_the_server_are_one_harmless_line() -> None:
    error = failure([Fault("/api/", "server_error", detail="a\x1b[31m\tb")])
    assert any("a [31m b" in note for note in error.notes)


def test_a_hub_that_is_not_there() -> None:
    with serve([]) as server:
        url = server.url
    with pytest.raises(UnavailableError, match="cannot be reached"):
        Hub(url, pause=0).repository("acme/base")


@pytest.mark.parametrize("endpoint", ["http://mirror.invalid:port", "mirror.invalid", "http://", "http://[", "ftp://x"])
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(UnavailableError):
        Hub(endpoint, pause=0).repository("acme/base")


def test_offline_mode(monkeypatch: pytest.MonkeyPatch, loopback_hub: LoopbackHub) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE"):
        ask(loopback_hub)
    assert loopback_hub.requests == []


def test_the_endpoint_and_token_of_the_environment_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve([repository("acme/base")]) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub = Hub()
        found = hub.repository("acme/base")
        hub.reader(found).read("config.json")
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("token", ["hf_secret\x01", "hf_secret ü", "hf secret"])
def test_a_token_that_cannot_be_sent_is_not_quoted(token: str) -> None:
    with serve([repository("acme/base")]) as server, pytest.raises(AccessError, match="cannot be sent") as caught:
        ask(server, token)
    assert server.requests == []
    assert "secret" not in str((caught.value.message, caught.value.notes, caught.value.helps))


def test_nothing_is_asked_after_an_interrupt() -> None:
    with serve([repository("acme/base")]) as server:
        hub = Hub(server.url)
        hub.stop()
        with pytest.raises(UnavailableError, match="interrupted"):
            hub.repository("acme/base")
        assert server.requests == []


def test_no_token_no_header() -> None:
    with serve([repository("acme/base")]) as server:
        ask(server)
    assert "authorization" not in {name.lower() for name in server.requests[0].headers}


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("https://huggingface.co", "https://huggingface.co"),
        ("http://127.0.0.1:8901", "loopback"),
        ("http://localhost:8901", "loopback"),
        ("http://[::1]:8901", "loopback"),
        ("https://user:secret@mirror.example:8443/hf/", "https://mirror.example:8443/hf"),
        ("http://127.1.2.3/", "loopback"),
        ("http://[2001:db8::1]/", "http://[2001:db8::1]"),
    ],
)
def test_source_name(endpoint: str, name: str) -> None:
    assert source_name(endpoint) == name


SHARDS = {
    "model-00001-of-00002.safetensors": header(
        {"model.layers.0.mlp.weight": ("BF16", [4, 8], 64), "model.layers.1.mlp.weight": ("BF16", [4, 8], 64)}
    ),
    "model-00002-of-00002.safetensors": header({"lm_head.weight": ("F32", [4], 16)}, metadata={"format": "pt"}),
}


def sharded(**changes: bytes) -> Recording:
    contents = {**SHARDS, **changes}
    sizes: dict[str, int | None] = dict.fromkeys(contents)
    return repository("acme/base", contents=contents, sizes=sizes, files={**sizes, "config.json": 1})


def test_headers_of_all_shards_are_read_by_ranges() -> None:
    with serve([sharded()]) as server:
        facts = facts_of(Hub(server.url, pause=0))
        ranges = {request.headers.get("Range") for request in server.requests if "safetensors" in request.path}
        # Bytes of a file are bytes of the file, not of what a proxy made of it.
        encodings = {request.headers["Accept-Encoding"] for request in server.requests if "Range" in request.headers}
    assert ranges == {"bytes=0-99999"}
    assert encodings == {"identity"}
    assert facts.tensors is not None
    assert facts.tensors.total_bytes == 144
    assert [(kind.name, kind.dtype, kind.shape, kind.count) for kind in facts.tensors.kinds] == [
        ("lm_head.weight", "F32", (4,), 1),
        ("model.layers.*.mlp.weight", "BF16", (4, 8), 2),
    ]
    assert "tensors" not in facts.unconfirmed


def test_a_long_header_takes_a_second_request() -> None:
    tensors = {f"model.layers.{index}.a_tensor_with_quite_a_long_name": ("U8", [1], 1) for index in range(2000)}
    with serve(
        [repository("acme/base", contents={"model.safetensors": header(tensors)}, sizes={"model.safetensors": None})]
    ) as server:
        facts = facts_of(Hub(server.url, pause=0))
        assert len(server.asked("/cdn/.*safetensors")) == 2
    assert facts.tensors is not None
    assert facts.tensors.kinds[0].count == 2000


@pytest.mark.parametrize("kind", ["ignore_range", "wrong_range", "html"])
def test_a_range_that_is_not_honoured(kind: FaultKind) -> None:
    assert isinstance(failure([Fault("/cdn/.*safetensors", kind)], sharded()), MalformedError)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01",
        (25_000_001).to_bytes(8, "little") + b"{",
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (300_000).to_bytes(8, "little") + b"{}",
    ],
)
def test_a_header_that_is_none(content: bytes) -> None:
    recording = sharded(**{"model-00002-of-00002.safetensors": content})
    assert failure([], recording).code == "E0311"


def test_one_shard_without_content_leaves_tensors_unconfirmed() -> None:
    with serve([sharded()], []) as server:
        recording = server.repositories["acme/base"]
        del recording.contents["model-00002-of-00002.safetensors"]  # type: ignore[attr-defined]
        facts = facts_of(Hub(server.url, pause=0))
    assert facts.tensors is None
    assert "tensors" in facts.unconfirmed


def test_the_command_prints_its_url() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.hub.server", "--port", "0"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        try:
            assert process.stdout is not None
            hub = Hub(process.stdout.readline().strip(), pause=0)
            assert hub.repository("Qwen/Qwen2.5-7B-Instruct").commit == "a09a35458c702b33eeacc393d103063234e8bc28"
        finally:
            process.terminate()
