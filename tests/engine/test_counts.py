"""The table of counts is what vLLM 0.33.0 says, asked again for models whose classes need no libraries for images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.units import GIB
from tests.engine.test_planner import answers
from tests.unit.test_engine_counts import CASES

pytestmark = pytest.mark.engine

ASKED = (
    "AXK1ForCausalLM", "AfmoeForCausalLM", "Cohere2MoeForCausalLM", "ExaoneMoeForCausalLM", "HYV3ForCausalLM",
    "Qwen2ForProcessRewardModel",
)  # fmt: skip


def question(config: dict[str, Any], ranks: int, folder: Path) -> dict[str, Any]:
    """A server of that many ranks with 16 GiB for its cache."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    cache = ["--kv-cache-memory-bytes", str(16 * GIB), "--max-model-len", "512"]
    return {
        "folder": str(folder),
        "capability": "9.0",
        "memory": 80 * GIB,
        "arguments": [str(folder), "--tensor-parallel-size", str(ranks), *cache],
    }


def test_vllm_still_says_what_the_table_holds(tmp_path: Path) -> None:
    rows = [(name, row) for name in ASKED for row in CASES[name]["counts"] if row[1] == 1]
    questions = [
        question(CASES[name]["config"], row[0], tmp_path / str(index)) for index, (name, row) in enumerate(rows)
    ]
    for (name, row), answer in zip(rows, answers(questions, tmp_path), strict=True):
        assert [answer["weight_bytes"], answer["num_blocks"]] == row[3:], name
