"""What vLLM 0.33.0 said of pairs of a model and a draft, kept in a file: their bytes and blocks are the ledger's.

`python -m tests.engine.draft_oracle HUB` makes the file anew, from configs of any folder of the Hub; those that the
registry knows are judged here.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from benchmarks.drafts.judged import Drafted, judged_drafts
from benchmarks.oracle import CARDS
from compiler.lock.models import HUB, ModelFacts
from compiler.registry.facts import Unplannable, checkpoint_of

ROWS = Path(__file__).parents[2] / "benchmarks/drafts/vllm-0.33.0.jsonl"


def test_every_draft_takes_what_the_engine_says() -> None:
    judged: Counter[str] = Counter()
    for row in map(json.loads, ROWS.read_text().splitlines()):
        known = checkpoint_of(row["model"])
        if known is None or isinstance(known, Unplannable):
            continue
        found = judged_drafts(row, ModelFacts(source=HUB, config=known.config), *CARDS[row["gpu"]])
        if row.get("refused"):
            assert isinstance(found, str), row
            continue
        assert found == Drafted(row["draft_bytes"], row["num_blocks"]), row
        judged[row["speculate"]["method"]] += 1
    assert min(judged[method] for method in ("ngram", "draft", "eagle3")) > 1, judged
