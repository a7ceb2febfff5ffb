"""A repository whose weights are not all there, and one that answers by another name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compiler.diagnostics import Edit
from compiler.lock.models import Lock
from compiler.lock.second_looks import pickle_warnings, rename_problems
from tests.hub.builders import AWQ, COMMIT, header, quantized, repository, service, spec_of
from tests.hub.recordings import Recording
from tests.hub.resolving import locked, problem
from tests.hub.server import serve

SPEC = spec_of({"s": service("acme/base")})
BASE = repository("acme/base")
INDEX = "model.safetensors.index.json"


def shards(*numbers: int, of: int = 3, name: str = "model") -> dict[str, bytes]:
    return {
        f"{name}-{number:05}-of-{of:05}.safetensors": header({f"{name}.{number}": ("U8", [1], 1)}) for number in numbers
    }


def holding(weights: dict[str, bytes], index: object = None, name: str = "acme/base", **changes: Any) -> Recording:
    small = {"config.json": BASE.contents["config.json"]}
    if index is not None:
        small[INDEX] = json.dumps(index).encode()
    contents = {**small, **weights}
    sizes: dict[str, int | None] = {path: len(content) + (path in weights) for path, content in contents.items()}
    return Recording(name, COMMIT, "mit", files=sizes, contents=contents, **changes)


def mapping(*files: str) -> dict[str, Any]:
    return {"metadata": {"total_size": 1}, "weight_map": {f"tensor.{index}": file for index, file in enumerate(files)}}


ALL = tuple(shards(1, 2, 3))


@pytest.mark.parametrize(
    ("weights", "index", "lacks"),
    [
        (shards(1, 3), mapping(*ALL), "`model-00002-of-00003.safetensors`, which its index names"),
        (shards(1, 3), None, "`model-00002-of-00003.safetensors`, as the names of the others tell"),
        (shards(1, 2), None, "`model-00003-of-00003.safetensors`, as the names"),
        (shards(2, 3), None, "`model-00001-of-00003.safetensors`, as the names"),
        (shards(0, 2), None, "`model-00001-of-00003.safetensors`, as the names"),
        (shards(1, of=9), None, "`model-00002-of-00009.safetensors`, `model-00003-of-00009.safetensors`, "),
        ({**shards(1, 2, 3), **shards(1, of=2, name="vision")}, None, "`vision-00002-of-00002.safetensors`"),
        (shards(1, 2, 3), mapping(*ALL, "extra.safetensors"), "`extra.safetensors`, which its index names"),
        (shards(1, 2, 3), mapping(*ALL, "sub/x.safetensors"), "`sub/x.safetensors`, which its index names"),
        ({"model.safetensors": b""}, mapping(*ALL), "`model-00001-of-00003.safetensors`"),
        ({"pytorch_model-00001-of-00002.bin": b""}, None, "`pytorch_model-00002-of-00002.bin`, as the names"),
    ],
)  # fmt: skip
def test_an_absent_shard_is_told_by_its_name(weights: dict[str, bytes], index: object, lacks: str) -> None:
    with serve([holding(weights, index)]) as hub:
        error = problem(SPEC, hub)
    assert error.code == "E0309"
    assert f"`acme/base` lacks {lacks}" in error.message


@pytest.mark.parametrize(
    ("weights", "index", "loaded"),
    [
        (shards(1, 2, 3), mapping(*ALL), ALL),
        (shards(1, 2, 3), None, ALL),
        (shards(0, 1, 2), None, tuple(shards(0, 1, 2))),
        ({**shards(1, 2, 3), "consolidated.safetensors": b""}, mapping(*ALL), ALL),
        ({**shards(1, 2, 3), "consolidated.safetensors": b""}, None, ALL),
        ({**shards(1, 2, 3), "stray.safetensors": b""}, mapping(*ALL), ALL),
    ],
)
def test_what_is_complete_is_locked_as_it_is_loaded(
    weights: dict[str, bytes], index: object, loaded: tuple[str, ...]
) -> None:
    with serve([holding(weights, index)]) as hub:
        facts = locked(SPEC, hub).models["acme/base"]
    assert tuple(file.path for file in facts.weights) == loaded
    assert facts.tensors is not None


@pytest.mark.parametrize("index", [[], {}, {"weight_map": {}}, {"weight_map": {"a": 5}}, {"weight_map": {"a": ["b"]}}])
def test_an_index_that_the_engine_cannot_read(index: object) -> None:
    with serve([holding(shards(1, 2, 3), index)]) as hub:
        assert problem(SPEC, hub).code == "E0309"


def test_a_candidate_that_lacks_a_shard_has_a_reason_and_stops_nothing() -> None:
    variant = holding(shards(1, 3), name="acme/base-AWQ", base_model="acme/base", base_relation="quantized")
    with serve([BASE, variant]) as hub:
        entry = locked(SPEC, hub).services["s"]
    assert entry.candidates == ("acme/base",)
    assert "lacks `model-00002-of-00003.safetensors`" in entry.unreadable["acme/base-AWQ"]


def test_an_upload_that_was_cut_off_is_told() -> None:
    """The listing has another size than the header accounts for."""
    with serve([repository("acme/base", sizes={"model.safetensors": 700})]) as hub:
        error = problem(SPEC, hub)
    assert "the header of `model.safetensors` is malformed" in error.message
    assert "in a file of 700" in error.notes[0]


@pytest.mark.parametrize("name", ["-x.safetensors", "--include.safetensors", ".hidden.safetensors"])
def test_weights_whose_name_would_be_an_option(name: str) -> None:
    with serve([holding({name: header({"a": ("U8", [1], 1)})})]) as hub:
        error = problem(SPEC, hub)
    assert error.code == "E0309"
    assert f"`{name}`, which is no name for them" in error.message


class TestRenamed:
    moved = repository("evil/other", renamed_from=("acme/base",))

    def test_to_a_stranger(self) -> None:
        with serve([self.moved]) as hub:
            error = problem(SPEC, hub)
        assert error.code == "E0305"
        assert "`acme/base`: it is `evil/other` now, by another publisher" in error.message
        assert error.helps[0].edits == (Edit(("services", "s", "model"), "evil/other"),)

    @pytest.mark.parametrize("quantization", ["auto", "none"])
    def test_to_a_trusted_publisher(self, quantization: str) -> None:
        spec = spec_of({"s": service("acme/base", quantization)}, ("Evil",))
        with serve([self.moved]) as hub:
            lock = locked(spec, hub)
            assert locked(spec, hub, previous=lock) == lock
        assert lock.services["s"].renamed == "evil/other"
        (warning,) = rename_problems(spec, lock, lambda _: None)
        assert (warning.code, warning.message) == ("W0303", "`acme/base` is `evil/other` now")

    def test_to_a_stranger_after_it_was_locked(self) -> None:
        with serve([BASE]) as hub:
            before = locked(SPEC, hub)
        with serve([self.moved]) as hub:
            assert problem(SPEC, hub, previous=before).code == "E0305"

    def test_of_a_variant_to_a_stranger_after_it_was_locked(self) -> None:
        variant = quantized("acme/base-AWQ", "acme/base", AWQ)
        with serve([BASE, variant]) as hub:
            before = locked(SPEC, hub)
        gone = quantized("evil/base-AWQ", "acme/base", AWQ, renamed_from=("acme/base-AWQ",))
        with serve([BASE, gone]) as hub:
            entry = locked(SPEC, hub, previous=before).services["s"]
        assert entry.candidates == ("acme/base",)
        assert entry.unreadable["acme/base-AWQ"] == "it is `evil/base-AWQ` now, by a publisher that nobody trusts"

    def test_by_case_alone_is_no_other_name(self) -> None:
        with serve([repository("Acme/Base", renamed_from=("acme/base",))]) as hub:
            assert locked(SPEC, hub).services["s"].renamed is None


def test_pickles_are_told() -> None:
    with serve([holding({"pytorch_model.bin": b"x", "training_args.bin": b"y"})]) as hub:
        lock: Lock = locked(SPEC, hub)
    (warning,) = pickle_warnings([("s", name, facts) for name, facts in lock.models.items()], lambda _: None)
    assert (warning.code, warning.message) == ("W0303", "the weights of `acme/base` are pickles: pytorch_model.bin")
