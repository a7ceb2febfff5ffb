"""The kept rows of drafts are what vLLM says: some of each method are asked anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.registry.facts import Unplannable, checkpoint_of
from tests.engine.draft_oracle import Json, ask
from tests.engine.engine_process import ROOT

pytestmark = pytest.mark.engine

ROWS = ROOT / "benchmarks/drafts/vllm-0.33.0.jsonl"
EACH = 3


def test_rows_are_what_the_engine_says(tmp_path: Path) -> None:
    kept: dict[str, list[Json]] = {"ngram": [], "draft": [], "eagle3": []}
    for row in map(json.loads, ROWS.read_text().splitlines()):
        known, alike = checkpoint_of(row["model"]), kept[row["speculate"]["method"]]
        if known is None or isinstance(known, Unplannable) or len(alike) == EACH:
            continue
        folder = tmp_path / row["model"].replace("/", "__")
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(known.config))
        alike.append(row)
    rows = [row for alike in kept.values() for row in alike]
    answers = ("weight_bytes", "draft_bytes", "num_blocks", "block_size", "refused")
    asked = [{key: value for key, value in row.items() if key not in answers} for row in rows]
    assert ask(asked, tmp_path, 120) == rows
