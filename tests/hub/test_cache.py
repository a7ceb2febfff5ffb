"""A second look at a commit costs one request, and no request at all where the user is offline."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from compiler.resolve.cache import Cache
from compiler.resolve.resolve import resolve_lock
from compiler.resolve.transport.hub import Hub
from compiler.source.cache import cache_folder
from tests.hub.builders import AWQ, quantized, repository, service, spec_of
from tests.hub.resolving import locked, problem
from tests.hub.server import LoopbackHub, serve

BASE, QUANTIZED = repository("acme/base"), quantized("acme/base-AWQ", "acme/base", AWQ)
SPEC = spec_of({"s": service("acme/base")})


def cache_of(hub: LoopbackHub, folder: Path) -> Cache:
    return Cache(folder, hub.url)


def test_known_commits_cost_one_request_per_repository(tmp_path: Path) -> None:
    with serve([BASE, QUANTIZED]) as hub:
        first = locked(SPEC, hub, cache=cache_of(hub, tmp_path))
        hub.requests.clear()
        assert locked(SPEC, hub, cache=cache_of(hub, tmp_path)) == first
        assert sorted(request.path.partition("?")[0] for request in hub.requests) == [
            "/api/models", "/api/models/acme/base", "/api/models/acme/base-AWQ",
        ]  # fmt: skip
        hub.repositories["acme/base"] = repository("acme/base", commit="f" * 40)
        assert locked(SPEC, hub, cache=cache_of(hub, tmp_path)).models["acme/base"].commit == "f" * 40


def test_the_gate_is_never_cached(tmp_path: Path) -> None:
    with serve([BASE]) as hub:
        locked(SPEC, hub, cache=cache_of(hub, tmp_path))
        hub.repositories["acme/base"] = repository("acme/base", gated="manual")
        assert locked(SPEC, hub, cache=cache_of(hub, tmp_path)).models["acme/base"].gated == "manual"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"source": 5}', b"\xff", b"[" * 100_000])
def test_broken_entries_are_as_if_not_there(tmp_path: Path, content: bytes) -> None:
    with serve([BASE]) as hub:
        first = locked(SPEC, hub, cache=cache_of(hub, tmp_path))
        for entry in tmp_path.rglob("*.json"):
            entry.write_bytes(content)
        assert locked(SPEC, hub, cache=cache_of(hub, tmp_path)) == first
    assert not list(tmp_path.rglob(".*"))


def test_facts_of_another_commit_are_not_taken(tmp_path: Path) -> None:
    with serve([BASE]) as hub:
        cache = cache_of(hub, tmp_path)
        locked(SPEC, hub, cache=cache)
        (entry,) = (path for path in tmp_path.rglob("*.json") if path.parent.parent.name == "commits")
        entry.rename(entry.with_stem("f" * 40))
        assert cache.facts("acme/base", "f" * 40) is None


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with serve([BASE]) as hub:
        locked(SPEC, hub, cache=cache_of(hub, tmp_path / "file"))


def test_where_the_cache_lies() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/somewhere"}) == Path("/somewhere/stackc")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / "stackc"
    assert cache_folder({}) == Path.home() / ".cache" / "stackc"


class TestOffline:
    def test_it_works_from_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        awq = spec_of({"s": service("acme/base", "awq")}, ("trusted",))
        with serve([BASE, quantized("trusted/base-AWQ", "acme/base", AWQ, base_model=None)]) as hub:
            online = [locked(spec, hub, cache=cache_of(hub, tmp_path)) for spec in (SPEC, awq)]
            hub.requests.clear()
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
            assert [locked(spec, hub, cache=cache_of(hub, tmp_path)) for spec in (SPEC, awq)] == online
            assert hub.requests == []

    def test_it_works_from_the_lock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serve([BASE]) as hub:
            before = locked(SPEC, hub)
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
            assert locked(SPEC, hub, previous=before) == before

    def test_what_is_missing_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serve([BASE]) as hub:
            before = locked(SPEC, hub)
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
            cold = problem(SPEC, hub)
            moving = problem(SPEC, hub, previous=before, upgrade=True)
            listing = problem(spec_of({"s": service("acme/base", "awq")}), hub, previous=before)
        assert cold.message == "`acme/base` is not known here, and HF_HUB_OFFLINE is set"
        assert moving.message.startswith("a newer commit of `acme/base`")
        assert listing.message.startswith("the list of variants of `acme/base`")
        assert {error.code for error in (cold, moving, listing)} == {"E0311"}
        assert cold.helps[0].text == "run `stackc lock` once without HF_HUB_OFFLINE"

    def test_a_head_whose_facts_are_gone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with serve([BASE]) as hub:
            locked(SPEC, hub, cache=cache_of(hub, tmp_path))
            for entry in tmp_path.rglob("*/commits/*/*.json"):
                entry.unlink()
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
            lock, (error,) = resolve_lock(SPEC, hub=Hub(hub.url), cache=cache_of(hub, tmp_path))
        assert lock is None
        assert "at commit 0123456789" in error.message
