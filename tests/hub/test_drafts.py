"""The model that drafts is locked beside the one that it drafts for: its own commit, and nobody else's repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compiler.lock.file import read_lock, write_lock
from compiler.lock.staleness import stale_services
from compiler.spec.models import Spec
from tests.hub.builders import repository, service, spec_of
from tests.hub.resolving import locked, problem
from tests.hub.server import serve

BASE, DRAFT = repository("acme/base"), repository("acme/draft", commit="d" * 40)


def drafted(model: str = "acme/draft", method: str = "draft") -> Spec:
    return spec_of({"chat": service("acme/base", "none") | {"speculate": {"method": method, "model": model}}})


def test_a_draft_has_facts_of_its_own_and_the_file_keeps_them(tmp_path: Path) -> None:
    with serve([BASE, DRAFT]) as hub:
        lock = locked(drafted(), hub)
    entry = lock.services["chat"]
    assert (entry.candidates, entry.draft, entry.draft_key) == (("acme/base",), "acme/draft", "acme/draft")
    assert lock.models["acme/draft"].commit == "d" * 40
    path = tmp_path / "test.lock.yaml"
    write_lock(path, lock)
    assert read_lock(path, path.name) == (lock, ())
    assert stale_services(drafted(), lock) == ()


def test_its_commit_stays_until_its_service_moves() -> None:
    with serve([BASE, DRAFT]) as hub:
        lock = locked(drafted(), hub)
    models = {name: facts.model_copy(update={"unconfirmed": ()}) for name, facts in lock.models.items()}
    lock = lock.model_copy(update={"models": models})
    with serve([BASE, replace(DRAFT, commit="e" * 40)]) as hub:
        assert locked(drafted(), hub, previous=lock).models["acme/draft"].commit == "d" * 40
        assert locked(drafted(), hub, previous=lock, upgrade=["chat"]).models["acme/draft"].commit == "e" * 40


def test_another_draft_makes_the_lock_stale_and_none_does_not() -> None:
    with serve([BASE, DRAFT]) as hub:
        lock = locked(drafted(), hub)
    (found,) = stale_services(drafted("acme/other"), lock)
    assert (found.field, found.asked, found.answered) == ("draft", "acme/other", "acme/draft")
    alone = spec_of({"chat": service("acme/base", "none")})
    assert stale_services(alone, lock) == ()
    with serve([BASE, DRAFT]) as hub:
        assert set(locked(alone, hub, previous=lock).models) == {"acme/base"}


def test_a_draft_that_is_not_there_is_told() -> None:
    with serve([BASE]) as hub:
        assert problem(drafted(), hub).code == "E0310"


def test_a_draft_in_another_format_is_told() -> None:
    gguf = repository("acme/draft", contents={"draft.gguf": b"GGUF"}, sizes={"draft.gguf": 4})
    gguf = replace(gguf, files={"draft.gguf": 4}, contents={"draft.gguf": b"GGUF"})
    with serve([BASE, gguf]) as hub:
        assert problem(drafted(), hub).code == "E0309"


def test_a_draft_that_strangers_have_now_is_not_read() -> None:
    moved = repository("stranger/draft", renamed_from=("acme/draft",))
    with serve([BASE, moved]) as hub:
        found = problem(drafted(), hub)
    assert "stranger/draft" in found.message
    assert "nobody trusts" in found.message
