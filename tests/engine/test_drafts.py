"""Servers that draft, as a compiled stack starts them: blocks as planned, and guesses that the model agrees with."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.engines.vllm.host.metrics import OF_DRAFTS
from tests.engine.random_model import write_model
from tests.engine.stack import Stack, compile_services
from tests.engine.test_metrics import labels_of

pytestmark = pytest.mark.engine

SMALLER = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 128, "intermediate_size": 256,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 1024,
    "torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def drafting(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A model that drafts for itself, and so is always right; a smaller one with narrower caches; and a lookup."""
    folder = tmp_path_factory.mktemp("drafting")
    write_model(folder / "smaller", SMALLER, tiny_model)
    drafts = {"itself": tiny_model, "smaller": folder / "smaller"}
    services = {
        name: {
            "model": str(tiny_model),
            "speculate": {"method": "draft", "model": str(draft), "tokens": 3},
        }
        for name, draft in drafts.items()
    }
    services["lookup"] = {"model": str(tiny_model), "speculate": {"method": "ngram", "tokens": 3}}
    stack = compile_services(folder, services, key=True)
    with stack.serve_all():
        yield stack


def test_blocks_and_context_are_the_planned_ones_and_guesses_count(drafting: Stack) -> None:
    result = drafting.run("smoke-test", "--json", "--requests", "0")
    checks = {(each["subject"], each["check"]): each for each in json.loads(result.stdout)["checks"]}
    for name in ("itself", "smaller", "lookup"):
        assert {title: checks[name, title]["status"] for title in ("kv-cache", "context", "drafts", "chat")} == {
            "kv-cache": "ok", "context": "ok", "drafts": "ok", "chat": "ok",
        }, checks  # fmt: skip
    right, _, rest = checks["itself", "drafts"]["detail"].partition(" of ")
    assert int(right) > 0, rest
    # A draft of random weights is seldom right, and what it costs is planned all the same.
    services = {each["name"]: each["kv_cache"]["bytes_per_block"] for each in drafting.plan["services"]}
    with urllib.request.urlopen(f"http://127.0.0.1:{drafting.port}/metrics", timeout=60) as reply:
        text = reply.read().decode()
    for metric in OF_DRAFTS:
        found = labels_of(text, metric.name)
        assert found, f"{metric.name} is not exposed"
        assert set(found[0]) == metric.labels
    assert services["lookup"] < services["smaller"] < services["itself"]
