"""Names of Ollama's library: the model that is meant, or none."""

from __future__ import annotations

import pytest

from compiler.catalog.ollama import hub_name, names
from compiler.registry.read import registry
from compiler.spec.reading.model_names import model_advice


def test_every_name_stands_for_a_model_that_can_be_asked_about() -> None:
    assert set(names().values()) <= set(registry().models)
    assert {name: hub_name(name) for name in names()} == names()


def test_a_size_is_that_of_the_model() -> None:
    """A row that slipped would send somebody to a model of another size."""
    for name, meant in names().items():
        size = name.partition(":")[2]
        if size.endswith("b") and size[:-1].replace(".", "").isdigit():
            assert 0.85 <= registry().models[meant].parameters / 1e9 / float(size[:-1]) <= 1.35, name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("llama3.1:8b", "meta-llama/Llama-3.1-8B-Instruct"),
        ("llama3.1:8b-instruct-q4_K_M", "meta-llama/Llama-3.1-8B-Instruct"),
        ("ollama:qwen3:8b", "Qwen/Qwen3-8B"),
        ("ollama://library/phi4:latest", "microsoft/phi-4"),
        ("qwen2.5:7b-instruct-fp16", "Qwen/Qwen2.5-7B-Instruct"),
        # Without a size it is whatever the library has made the default; `text` is the base model.
        ("qwen3", None),
        ("llama3.1:latest", None),
        ("llama3.1:8b-text-q4_0", None),
        ("deepseek-r1:8b", None),
        ("somebody/llama3.1:8b", None),
        ("", None),
        ("a" * 10_000, None),
    ],
)
def test_only_what_is_certain_is_answered(name: str, meant: str | None) -> None:
    assert hub_name(name) == meant


def test_a_spec_is_told_the_name_of_the_hub() -> None:
    _, (known,) = model_advice("ollama:llama3.1:8b", ("services", "chat", "model"))
    assert "write `meta-llama/Llama-3.1-8B-Instruct`" in known.text
    assert "search=Llama-3.1-8B-Instruct&library=gguf" in known.text
    _, (unknown,) = model_advice("gpt-oss:20b", ("services", "chat", "model"))
    assert "search=gpt-oss+20b" in unknown.text
