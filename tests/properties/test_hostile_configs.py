"""Every value of a stranger's configuration may be of any type: reading and judging it raises nothing of Python's."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.lock.changes import lock_changes
from compiler.lock.file import format_lock
from compiler.lock.models import Lock, ModelFacts
from compiler.lock.quantization import answers_quantization, orders_over_groups, quantization_method, quantization_names
from compiler.resolve.answers import ListedFile, Repository, SourceError
from compiler.resolve.candidates import is_variant, may_have_variants
from compiler.resolve.reading.facts import read_facts
from tests.hub.builders import AWQ, COMMIT, FP8, GPTQ, LLAMA

COMPRESSED = {
    "quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}},
}  # fmt: skip
MODELOPT = {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}
BLOCKS = [AWQ, GPTQ, {**GPTQ, "desc_act": True}, FP8, COMPRESSED, MODELOPT]
SMALL: dict[str, Any] = {
    "tokenizer_config.json": {
        "chat_template": [{"name": "default", "template": "x"}],
        "model_max_length": 512,
        "auto_map": {"AutoTokenizer": ["o.T", None]},
        "tokenizer_class": "T",
    },
    "processor_config.json": {"auto_map": {"AutoProcessor": "o.P"}, "processor_class": "P"},
    "generation_config.json": {"temperature": 0.5, "top_k": 5},
    "modules.json": [{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}],
    "2_Dense/config.json": {"in_features": 5, "out_features": 6, "bias": True},
    "sentence_bert_config.json": {"max_seq_length": 512},
}
ABSURD: list[Any] = [
    None, True, [], {}, [[]], [{}], {"a": []}, "", "x", "x" * 5000, 0, -1, 2**63, 10**400, 1e308, float("nan"), 1.5,
    ["x"],
]  # fmt: skip


def samples() -> list[dict[str, Any]]:
    """The files of a model of each kind of quantization."""
    base = {
        **copy.deepcopy(LLAMA),
        "auto_map": {"x": "y"},
        "position_embedding_type": "absolute",
        "text_config": {"hidden_size": 64},
    }
    return [
        {"config.json": {**copy.deepcopy(base), "quantization_config": copy.deepcopy(block)}, **copy.deepcopy(SMALL)}
        for block in BLOCKS
    ]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield value, key
        yield from places(child)


class Files:
    def __init__(self, files: dict[str, Any]) -> None:
        self.contents = {path: json.dumps(value).encode() for path, value in files.items()}

    def read(self, path: str) -> bytes | None:
        return self.contents.get(path)

    def read_range(self, *_: object) -> bytes | None:
        return None

    def take(self, size: int) -> None:
        """Nothing is counted."""


def judge(files: dict[str, Any]) -> None:
    reader = Files(files)
    listed = tuple(ListedFile(path, len(content)) for path, content in reader.contents.items())
    found = Repository("acme/base", "loopback", commit=COMMIT, files=(*listed, ListedFile("model.bin", 1)))
    try:
        facts: ModelFacts = read_facts(found, reader)
    except SourceError:
        return
    assert quantization_method(facts) in {*quantization_names(facts), "none"}
    answers_quantization(facts, ("awq", "fp8"))
    orders_over_groups(facts)
    is_variant(facts, facts)
    may_have_variants(facts, ("auto",))
    lock = Lock(services={}, models={"acme/base": facts})
    assert format_lock(lock)
    lock_changes(lock, lock)


@pytest.mark.parametrize("which", range(len(BLOCKS)), ids=lambda which: str(BLOCKS[which]["quant_method"]))
def test_each_value_may_be_anything(which: int) -> None:
    judge(samples()[which])
    for place in range(len(list(places(samples()[which])))):
        for value in ABSURD:
            files = samples()[which]
            parent, key = list(places(files))[place]
            parent[key] = copy.deepcopy(value)
            judge(files)


@settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate])
@given(st.integers(0, len(BLOCKS) - 1), st.lists(st.tuples(st.integers(0, 60), st.sampled_from(ABSURD)), max_size=4))
def test_several_values_may_be_anything(which: int, changes: list[tuple[int, Any]]) -> None:
    files = samples()[which]
    for place, value in changes:
        found = list(places(files))
        parent, key = found[place % len(found)]
        parent[key] = copy.deepcopy(value)
    judge(files)
