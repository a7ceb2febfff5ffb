"""What differs between two locks."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.gguf.model import GgufModel
from compiler.lock.changes import Change, FactChange, lock_changes, weight_bytes
from compiler.lock.gguf import GgufFile, of_model
from compiler.lock.models import CodeFacts, Lock, ModelFacts, WeightFile, lock_key, repository_of
from tests.gguf.writer import tensor

A, B = "a" * 40, "b" * 40


def facts(**changes: Any) -> ModelFacts:
    return ModelFacts(**{"source": "loopback", "commit": A, "config": {"torch_dtype": "bfloat16"}, **changes})


def lock(**models: ModelFacts) -> Lock:
    return Lock(schema=1, services={}, models=models)


def test_equal_locks_have_no_changes() -> None:
    assert lock_changes(lock(a=facts()), lock(a=facts())) == ()


def test_what_moved() -> None:
    new = facts(commit=B, license="mit", config={"dtype": "float16"})
    (change,) = lock_changes(lock(a=facts()), lock(a=new))
    assert (change.model, change.kind) == ("a", "moved")
    assert change.facts[:3] == (
        FactChange("commit", A, B),
        FactChange("licence", None, "mit"),
        FactChange("dtype", "bfloat16", "float16"),
    )
    assert change.facts[3].fact == "config"


def test_other_defaults_of_requests_are_told() -> None:
    old, new = facts(sampling={"top_p": 0.8, "temperature": 0.7}), facts(sampling={}, named_templates=("rag",))
    (change,) = lock_changes(lock(a=old), lock(a=new))
    assert change.facts == (
        FactChange("named templates", None, "rag"),
        FactChange("sampling", "temperature 0.7, top_p 0.8", None),
    )


def test_code_that_a_repository_brings_anew_is_told_with_its_file() -> None:
    """Whoever reviews a lock is to see what a server may run, also where config.json stays as it was."""
    entry = CodeFacts(file="tokenizer_config.json", auto_map={"AutoTokenizer": ("own.Slow", "own.Fast")})
    (change,) = lock_changes(lock(a=facts()), lock(a=facts(code=(entry,))))
    assert change.facts == (FactChange("code", None, "tokenizer_config.json AutoTokenizer own.Slow own.Fast"),)


def test_came_went_and_renamed() -> None:
    old, new = lock(gone=facts(commit=None), old=facts()), lock(came=facts(commit=B), new=facts(license="mit"))
    assert lock_changes(old, new) == (
        Change("came", "new"),
        Change("gone", "gone"),
        Change("new", "renamed", (FactChange("licence", None, "mit"),), "old"),
    )


def test_files_of_one_commit_are_models_of_their_own() -> None:
    old, new = ({f"{name}#{file}": gguf(file)} for name, file in (("a/m", "Q4.gguf"), ("a/m", "Q8.gguf")))
    assert lock_changes(lock(**old), lock(**new)) == (Change("a/m#Q4.gguf", "gone"), Change("a/m#Q8.gguf", "new"))
    moved = lock(**{"b/m#Q4.gguf": gguf("Q4.gguf")})
    assert lock_changes(lock(**old), moved) == (Change("b/m#Q4.gguf", "renamed", (), "a/m#Q4.gguf"),)


def test_what_moved_in_gguf_files() -> None:
    (change,) = lock_changes(lock(a=gguf("m.gguf", 15)), lock(a=gguf("m.gguf", 7, "q8_0")))
    assert [each.fact for each in change.facts] == ["weights", "quantization", "tensors", "config"]
    assert change.facts[:2] == (FactChange("weights", 144, 272), FactChange("quantization", "Q4_K_M", "Q8_0"))


def gguf(path: str, file_type: int = 15, type_: str = "q4_K") -> ModelFacts:
    model = GgufModel({"general.file_type": file_type}, (tensor("token_embd.weight", type_, 256),), 0)
    return facts(kind="gguf", config={}, gguf=of_model(model, [GgufFile(path=path)]))


@pytest.mark.parametrize(("sizes", "total"), [((), None), ((1, None), None), ((1, 2), 3)])
def test_bytes_are_known_or_not(sizes: tuple[int | None, ...], total: int | None) -> None:
    files = tuple(WeightFile(path=str(index), size=size) for index, size in enumerate(sizes))
    assert weight_bytes(facts(weights=files)) == total


@pytest.mark.parametrize(
    ("repository", "branch", "key"),
    [("a/b", None, "a/b"), ("a/b", "x/y", "a/b@x/y"), ("/models/a@b", None, "/models/a@b")],
)
def test_keys(repository: str, branch: str | None, key: str) -> None:
    assert lock_key(repository, branch) == key
    assert repository_of(key) == repository
