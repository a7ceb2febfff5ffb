"""Which questions of a spec a lock does not answer."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.lock.models import Lock, LockedService, ModelFacts
from compiler.lock.staleness import Staleness, stale_services
from compiler.spec.models import Spec


def spec_of(publishers: tuple[str, ...] = ("TheBloke", "Acme"), **service: Any) -> Spec:
    return Spec.model_validate(
        {
            "stack": "test",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"n": {"cpu": {"memory": "8GiB"}}},
            "services": {"s": {"model": "a/b", "quantization": ["awq"], "context": "4K", "port": 1, **service}},
            "policy": {"publishers": publishers},
        }
    )


def lock_of(**service: Any) -> Lock:
    fields = {"model": "a/b", "quantization": ("awq",), "publishers": ("Acme", "TheBloke"), "candidates": ("a/b",)}
    return Lock(
        services={"s": LockedService(**{**fields, **service})},
        models={"a/b": ModelFacts(source="folder", config={"a": 1})},
    )


def test_the_same_ask_is_not_stale() -> None:
    assert stale_services(spec_of(), lock_of()) == ()


def test_only_what_the_lock_depends_on_counts() -> None:
    assert stale_services(spec_of(context="8K", port=2, concurrency=9), lock_of()) == ()


def test_publishers_are_a_set_and_matter_only_for_variants() -> None:
    assert stale_services(spec_of(("Acme", "TheBloke", "Acme")), lock_of()) == ()
    assert stale_services(spec_of(quantization="none"), lock_of(quantization=("none",), publishers=())) == ()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (spec_of(model="a/c"), Staleness("s", "model", "a/c", "a/b")),
        (spec_of(quantization=["awq", "fp8"]), Staleness("s", "quantization", "[awq, fp8]", "[awq]")),
        (spec_of(("Acme",)), Staleness("s", "publishers", "[Acme]", "[Acme, TheBloke]")),
    ],
)
def test_each_field(spec: Spec, expected: Staleness) -> None:
    assert stale_services(spec, lock_of()) == (expected,)


def test_services_on_one_side_only() -> None:
    lock = lock_of()
    other = Lock(services={"t": lock.services["s"]}, models=lock.models)
    assert stale_services(spec_of(), other) == (
        Staleness("s", "missing", "a/b", ""),
        Staleness("t", "extra", "", "a/b"),
    )
