"""The emitted smoke test on real servers that rank texts and label them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.checkpoints.parameters.tensors import StoredTensor
from tests.engine.random_model import write_model
from tests.engine.stack import Stack, compile_services
from tests.engine.test_smoke import ENCODER, checks_of

pytestmark = pytest.mark.engine

CROSS_ENCODER = ENCODER | {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
CLASSIFIER = CROSS_ENCODER | {"id2label": {str(label): f"LABEL_{label}" for label in range(3)}}


@pytest.fixture(scope="module")
def trio(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A cross-encoder, a generating model that scores by two words, and a classifier of three labels."""
    folder = tmp_path_factory.mktemp("pooled")
    for name, config in (("cross-encoder", CROSS_ENCODER), ("classifier", CLASSIFIER)):
        write_model(folder / name, config, tiny_model, _as_bert)
    services: dict[str, dict[str, Any]] = {
        "cross-encoder": {"model": str(folder / "cross-encoder"), "task": "score"},
        "words": {"model": str(tiny_model), "task": "score", "score_tokens": ["n", "y"]},
        "classifier": {"model": str(folder / "classifier"), "task": "classify"},
    }
    stack = compile_services(folder, services, key=True)
    with stack.serve_all():
        yield stack


def _as_bert(tensor: StoredTensor) -> StoredTensor:
    """The encoder below `bert.`, and heads as tables."""
    whole = tensor.name if tensor.name.startswith(("bert.", "classifier.")) else f"bert.{tensor.name}"
    is_head = whole in ("bert.pooler.dense.weight", "classifier.weight")
    return replace(tensor, name=whole, shape=(math.prod(tensor.shape) // 128, 128) if is_head else tensor.shape)


def test_texts_are_ranked_and_labelled(trio: Stack) -> None:
    code, checks = checks_of(trio, "--requests", "0")
    assert code == 0, [check for check in checks.values() if check["status"] == "fail"]
    asked = [(name, check) for name in ("cross-encoder", "words", "classifier") for check in ("overlong", "metrics")]
    asked += [("classifier", "labels"), ("words", "kv-cache"), ("cross-encoder", "labels"), ("words", "labels")]
    assert {key for key in asked if checks[key]["status"] != "ok"} == set()
    # Random weights know no capital: the order of the scores is checked, which of the texts is the best only told.
    assert {checks[name, "rerank"]["status"] for name in ("cross-encoder", "words")} <= {"ok", "warn"}
    assert checks["classifier", "rerank"]["status"] == "skip"
    assert checks["classifier", "labels"]["detail"].startswith("3 labels")


@pytest.mark.parametrize("name", ["cross-encoder", "classifier"])
def test_what_reads_whole_texts_is_measured_by_vllm_s_own_benchmark(trio: Stack, name: str, tmp_path: Path) -> None:
    load = ("--runs", "1", "--requests", "4", "--input-len", "32")
    done = trio.run("bench", name, *load, "--baselines", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.rglob("*.json")
    figures = json.loads(path.read_text())["metrics"]
    assert set(figures) == {"total_token_throughput", "median_e2el_ms", "p95_e2el_ms"}
    assert all(figure["median"] > 0 for figure in figures.values())
