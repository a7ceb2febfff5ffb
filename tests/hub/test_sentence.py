"""Files of Sentence Transformers beside a model, as the lock keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.lock.models import DenseFacts, EmbeddingFacts
from compiler.resolve.reading.folder import folder_facts
from tests.hub.builders import LLAMA, repository, service, spec_of
from tests.hub.resolving import locked
from tests.hub.server import serve

TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
DENSE = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
NORMALIZE = {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}
OUTPUTS = {"in_features": 64, "out_features": 32, "bias": False}


def facts(files: dict[str, Any], config: dict[str, Any] = LLAMA) -> EmbeddingFacts | None:
    contents = {
        name: value if isinstance(value, bytes) else json.dumps(value).encode() for name, value in files.items()
    }
    with serve([repository("acme/m", config, contents=contents)]) as hub:
        return locked(spec_of({"s": service("acme/m", "none")}), hub).models["acme/m"].embedding


def test_without_such_files_nothing_is_said() -> None:
    assert facts({}) is None


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ([TRANSFORMER, POOLING, NORMALIZE], True),
        ([TRANSFORMER, POOLING], False),
        # vLLM passes over a list without pooling, and normalises by itself.
        ([TRANSFORMER], True),
        ([], True),
        ([POOLING | {"type": "somebody.models.Pooling"}], True),
    ],
)
def test_modules_say_whether_embeddings_are_normalised(modules: list[dict[str, Any]], expected: bool) -> None:
    assert facts({"modules.json": modules}) == EmbeddingFacts(normalized=expected)


def test_projections_are_kept_in_order() -> None:
    found = facts({"modules.json": [TRANSFORMER, POOLING, DENSE, NORMALIZE], "2_Dense/config.json": OUTPUTS})
    assert found == EmbeddingFacts(normalized=True, dense=(DenseFacts(inputs=64, outputs=32, bias=False),))


def test_the_shortest_limit_counts_and_the_tokenizers_only_with_absolute_positions() -> None:
    files = {"sentence_bert_config.json": {"max_seq_length": 256}, "tokenizer_config.json": {"model_max_length": 128}}
    assert facts(files) == EmbeddingFacts(normalized=True, max_length=256)
    absolute = LLAMA | {"position_embedding_type": "absolute"}
    assert facts(files, absolute) == EmbeddingFacts(normalized=True, max_length=128)
    # Tokenizers without a limit say so with an absurd number.
    files["tokenizer_config.json"] = {"model_max_length": 1e30}
    assert facts(files, absolute) == EmbeddingFacts(normalized=True, max_length=256)


@pytest.mark.parametrize(
    "files",
    [
        {"modules.json": b"not json"},
        {"modules.json": {"a": 1}},
        {"modules.json": [TRANSFORMER] * 100},
        {"modules.json": b"[" * 5000},
        {"modules.json": b"[]", "sentence_bert_config.json": b"[1]"},
    ],
)
def test_files_that_are_not_what_they_should_be_say_nothing(files: dict[str, Any]) -> None:
    """They are no reason to refuse a model that may not be served for embeddings at all."""
    assert facts(files) is None


def test_a_path_out_of_the_repository_is_not_followed() -> None:
    found = facts({"modules.json": [POOLING, DENSE | {"path": "../../etc"}]})
    assert found == EmbeddingFacts(normalized=False)


def test_a_folder_says_the_same(tmp_path: Path) -> None:
    files = {"config.json": LLAMA, "modules.json": [POOLING, DENSE], "2_Dense/config.json": OUTPUTS}
    for name, value in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    found = folder_facts(str(tmp_path))
    assert found.embedding == EmbeddingFacts(normalized=False, dense=(DenseFacts(inputs=64, outputs=32, bias=False),))
