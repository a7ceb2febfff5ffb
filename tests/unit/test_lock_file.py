"""The lock file: what is written is read back, byte for byte the same for the same facts."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from compiler.lock import text
from compiler.lock.file import MAX_BYTES, format_lock, read_lock, write_lock
from compiler.lock.models import Lock, LockedService, ModelFacts, TensorFacts, TensorKind, WeightFile
from compiler.resolve.answers import without_controls
from tests.examples import examples

# Everything that JSON can hold and a Hub can send. -0.0 and 0.0 are equal, so they would not show a difference.
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(
        ["yes", "no", "~", "null", "1e3", "0x1f", "2024-01-01", "a: b", "- a", "#", "é", "\x85", "\ud800"]
    )
)
keys = st.text(max_size=8) | st.sampled_from(["<<", "y", "on", "1", "a:", "a b", "model.layers.*", "="])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(keys, values, max_size=4)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
lines = st.text(max_size=8).map(without_controls)
kinds = st.builds(TensorKind, name=lines, dtype=names, shape=st.tuples(st.integers(0, 9)), count=st.integers(1, 99))
weights = st.builds(WeightFile, path=names, size=st.none() | st.integers(0, 2**60), sha256=st.none() | hashes)
facts = st.builds(
    ModelFacts,
    source=st.sampled_from(["loopback", "https://huggingface.co"]),
    commit=st.none() | st.text("0123456789abcdef", min_size=7, max_size=40),
    license=st.none() | lines,
    gated=st.sampled_from([False, "auto", "manual"]),
    base_models=st.tuples(names),
    remote_code=st.booleans(),
    weights=st.lists(weights, max_size=3, unique_by=lambda file: file.path).map(
        lambda files: tuple(sorted(files, key=lambda file: file.path))
    ),
    config=objects,
    quantization=st.none() | objects,
    tensors=st.none()
    | st.builds(
        TensorFacts,
        digest=names,
        total_bytes=st.integers(0, 2**60),
        kinds=st.lists(kinds, max_size=3, unique_by=lambda kind: kind.name).map(
            lambda items: tuple(sorted(items, key=lambda kind: kind.name))
        ),
    ),
    unconfirmed=st.sampled_from([(), ("commit",), ("config", "files")]),
)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    models = draw(st.dictionaries(names, facts, min_size=1, max_size=3))
    candidates = st.lists(st.sampled_from(sorted(models)), min_size=1, unique=True).map(
        lambda items: tuple(sorted(items))
    )
    service = st.builds(
        LockedService, model=names, quantization=st.tuples(names), publishers=st.tuples(names), candidates=candidates
    )
    return Lock(services=draw(st.dictionaries(names, service, max_size=3)), models=models)


@examples(8)
@given(locks())
def test_a_lock_round_trips(lock: Lock) -> None:
    content = format_lock(lock)
    assert Lock.model_validate(parsed(content)) == lock
    reordered = Lock(services=dict(reversed(lock.services.items())), models=dict(reversed(lock.models.items())))
    assert format_lock(reordered) == content


@given(objects)
def test_both_readers_agree(data: dict[str, Any]) -> None:
    content = text.format_document(data)
    slow = YAML(typ="safe", pure=True).load(content)
    assert slow == (data or None)
    try:
        assert text.parse(content) == data
    except text.UnusualError:
        assert any(math.isinf(number) for number in numbers(data))


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def parsed(content: str) -> Any:
    try:
        return text.parse(content)
    except text.UnusualError:
        return YAML(typ="safe", pure=True).load(content)


@given(st.text(st.sampled_from(list('ab:-{}[]",# \n123')), max_size=60))
def test_the_fast_reader_never_differs_from_yaml(content: str) -> None:
    try:
        fast = text.parse(content)
    except text.UnusualError:
        return
    assert (YAML(typ="safe", pure=True).load(content) or {}) == fast


LOCK = Lock(
    services={"coder": LockedService(model="a/b", quantization=("awq", "none"), candidates=("a/b",))},
    models={
        "a/b": ModelFacts(
            source="https://huggingface.co",
            commit="63a8b081895390a26e140280378bc85ec8bce07a",
            license="mit",
            weights=(WeightFile(path="model.safetensors", size=5, sha256="ab"),),
            config={"rms_norm_eps": 1e-06, "architectures": ["X"], "rope_scaling": {"type": "linear", "factor": 4.0}},
            tensors=TensorFacts(
                digest="sha256:ab",
                total_bytes=4,
                kinds=(TensorKind(name="layers.*.w", dtype="BF16", shape=(1, 2), count=1),),
            ),
        )
    },
)


def test_the_form_for_reviewers() -> None:
    assert (
        format_lock(LOCK)
        == """\
# Written by `stackc lock`: DO NOT EDIT. Facts about the models of the spec beside this file.
schema: 1
services:
  coder:
    model: a/b
    quantization: ["awq", "none"]
    candidates: ["a/b"]
models:
  a/b:
    source: https://huggingface.co
    commit: "63a8b081895390a26e140280378bc85ec8bce07a"
    license: mit
    weights:
      - {"path": "model.safetensors", "size": 5, "sha256": "ab"}
    config:
      architectures: ["X"]
      rms_norm_eps: 1.0e-06
      rope_scaling: {"factor": 4.0, "type": "linear"}
    tensors:
      digest: sha256:ab
      total_bytes: 4
      kinds:
        - {"name": "layers.*.w", "dtype": "BF16", "shape": [1, 2], "count": 1}
"""
    )


def test_only_a_change_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.yaml"
    assert write_lock(path, LOCK)
    path.chmod(0o640)
    before = path.stat()
    assert not write_lock(path, LOCK)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert write_lock(path, Lock(services={}, models={}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [item.name for item in tmp_path.iterdir()] == ["x.lock.yaml"]


def test_a_failed_write_leaves_the_old_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.lock.yaml"
    write_lock(path, LOCK)
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk"):
        write_lock(path, Lock(services={}, models={}))
    assert read_lock(path, "x")[0] == LOCK
    assert [item.name for item in tmp_path.iterdir()] == ["x.lock.yaml"]


def fail(descriptor: int) -> None:
    raise OSError("the disk is full")


def test_there_is_no_lock(tmp_path: Path) -> None:
    lock, (problem,) = read_lock(tmp_path / "x.lock.yaml", "stacks/x.lock.yaml")
    assert lock is None
    assert (problem.code, problem.message) == ("E0301", "there is no lock `stacks/x.lock.yaml`")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has no schema"),
        (b"[]", "it has no schema"),
        (b"schema: 2\nservices: {}\nmodels: {}\n", "its schema is 2, and this stackc reads 1"),
        (b"schema: true\nservices: {}\nmodels: {}\n", "its schema is True, and this stackc reads 1"),
        (b"schema: 1\nservices: {}\n", "it does not have the form of a lock"),
        (b"schema: 1\nservices: {}\nmodels: {}\nmore: 1\n", "it does not have the form of a lock"),
        (b"<<<<<<< HEAD\nschema: 1\n=======\n", "it is not valid YAML"),
        (b"schema: 1\nschema: 1\nservices: {}\nmodels: {}\n", "it is not valid YAML"),
        (b"schema: 1\nservices: {\n", "it is not valid YAML"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"- " * 2000, "it is nested too deeply"),
    ],
)
def test_what_is_no_lock(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.lock.yaml"
    path.write_bytes(content)
    lock, (problem,) = read_lock(path, "x.lock.yaml")
    assert lock is None
    assert problem.code == "E0303"
    assert problem.message.startswith(f"cannot read the lock `x.lock.yaml`: {reason}")


def test_the_wrong_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.yaml"
    path.write_text(format_lock(LOCK).replace("total_bytes: 4", "total_bytes: many"))
    _, (problem,) = read_lock(path, "x.lock.yaml")
    assert problem.notes[0].startswith("models.a/b.tensors.total_bytes: ")


def test_a_candidate_without_facts_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.yaml"
    path.write_text(format_lock(LOCK).replace('candidates: ["a/b"]', 'candidates: ["a/c"]'))
    _, (problem,) = read_lock(path, "x.lock.yaml")
    assert "a/c, which is not among the models" in problem.notes[0]


def test_a_lock_has_a_size(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    _, (problem,) = read_lock(path, "x.lock.yaml")
    assert "larger than" in problem.message


def test_a_lock_that_is_a_folder(tmp_path: Path) -> None:
    _, (problem,) = read_lock(tmp_path, "x.lock.yaml")
    assert problem.code == "E0104"


def test_reformatted_yaml_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.yaml"
    data = text.parse(format_lock(LOCK))
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(data, file)
    assert read_lock(path, "x")[0] == LOCK


def test_a_large_lock_that_is_not_as_written_is_refused_at_once_and_json_is_read(tmp_path: Path) -> None:
    """Reading YAML as such takes seconds for each hundred kilobytes."""
    path = tmp_path / "x.lock.yaml"
    path.write_text(format_lock(LOCK) + "x: |\n" + "  word\n" * 60_000)
    lock, (problem,) = read_lock(path, "x.lock.yaml")
    assert (lock, problem.code) == (None, "E0303")
    assert "larger than 262144 bytes" in problem.message

    path.write_text(json.dumps(text.parse(format_lock(LOCK)), indent=1))
    assert read_lock(path, "x.lock.yaml") == (LOCK, ())


def test_equal_facts_of_two_locks_are_one_object(tmp_path: Path, root: Path) -> None:
    content = (root / "stacks" / "tiny-cpu.lock.yaml").read_text(encoding="utf-8")

    def facts(name: str, text: str) -> ModelFacts:
        path = tmp_path / f"{name}.lock.yaml"
        path.write_text(text, encoding="utf-8")
        lock, problems = read_lock(path, path.name)
        assert lock is not None, problems
        return next(iter(lock.models.values()))

    one = facts("a", content)
    assert facts("b", content) is one, "what is worked out from facts is kept by the object"
    other = facts("c", content.replace("vocab_size: 49152", "vocab_size: 49153"))
    assert other.config["vocab_size"] == 49153, "other facts are never taken for those of another lock"
