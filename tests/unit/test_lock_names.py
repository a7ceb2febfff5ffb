"""Names in a lock: what the Hub gives out passes, and what a program could take for something else does not."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from compiler.lock.models import Lock, ModelFacts, WeightFile
from compiler.lock.names import is_branch, is_file, is_model, is_path, is_repository

ODD = [
    "", ".", "..", "../x", "a/../b", "/", "//", "-x", "--help/x", "a/-b", "a b", "a\n", "a\x00b", "a\u202eb",
    "$(touch x)/y", "x/$(id)", "x/{{7*7}}", "x/`id`", "a;b", "a/b/c", "a--b/c", "a/b.git", "é/x", "x\\y", "~", "*",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_no_repositories_and_no_models(name: str) -> None:
    assert not is_repository(name)
    assert not is_model(name) or name in ("/", "//")


@pytest.mark.parametrize("name", ["gpt2", "a/b", "Qwen/Qwen2.5-7B-Instruct", "a_b/c.d-e_f", "_x/y"])
def test_real_names_are_repositories(name: str) -> None:
    assert is_repository(name)
    assert is_model(f"{name}@gptq-4bit-32g")


@given(st.text("abAB09_-./", max_size=12))
def test_names_are_those_of_the_hub(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError:
        assert not is_repository(name)
    else:
        assert is_repository(name)


@pytest.mark.parametrize(
    "name", ["main", "", "-x", "a..b", "a//b", "a/.b", "a.lock", "a/b.lock/c", "x@{1}", "a b", "a~1", "/a"]
)
def test_odd_branches(name: str) -> None:
    assert not is_branch(name)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".", "-x", "", "a\u202eb", "a\x00", "a\nb", "\\x", "x" * 300, ".x"]
)
def test_odd_files(name: str) -> None:
    assert not is_file(name)
    with pytest.raises(ValidationError, match="is not the plain name of a file"):
        WeightFile(path=name)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model (1).safetensors", "модель.bin", "pytorch_model-00001-of-00002.bin"]
)
def test_plain_files(name: str) -> None:
    assert is_file(name)
    assert is_path(f"additional_chat_templates/{name}")


def lock(model: str = "acme/base", candidate: str = "acme/base", **service: object) -> Lock:
    facts = {"source": "https://huggingface.co", "config": {}}
    asked = {"model": model, "quantization": ["auto"], "candidates": [candidate], **service}
    return Lock.model_validate({"schema": 1, "services": {"s": asked}, "models": {candidate: facts}})


def test_candidates_are_the_models_own_or_of_trusted_publishers() -> None:
    assert lock()
    assert lock(candidate="acme/base-AWQ")
    assert lock(candidate="Trusted/x", publishers=["trusted"])
    assert lock(candidate="other/x", renamed="other/base")
    for odd in ({"candidate": "evil/x"}, {"candidate": "evil/x", "publishers": ["trusted"]}, {"candidate": "/etc/x"}):
        with pytest.raises(ValidationError):
            lock(**odd)  # type: ignore[arg-type]


def test_a_folder_does_not_come_from_a_hub() -> None:
    with pytest.raises(ValidationError, match="comes from loopback"):
        Lock(services={}, models={"/srv/model": ModelFacts(source="loopback", config={})})
