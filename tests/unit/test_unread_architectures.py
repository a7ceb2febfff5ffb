"""Every architecture of vLLM's registry has formulas, or a reason why not in `unread_architectures.json`.

A new release shows here what is new in it. Drafts for speculative decoding are not served by themselves and need none.
"""

from __future__ import annotations

import json
from pathlib import Path

from compiler.checkpoints.families.dense.pooling import converted
from compiler.checkpoints.families.table import FAMILIES
from compiler.engines.vllm.releases.architectures import load_registry

REASONS: dict[str, list[str]] = json.loads(Path(__file__).with_name("unread_architectures.json").read_text())
DESCRIBED = "0.33.0"


def is_read(name: str) -> bool:
    return name in FAMILIES or converted(name, FAMILIES) is not None


def test_what_has_no_formulas_is_listed_with_a_reason() -> None:
    registry = load_registry(DESCRIBED)
    unread = {name for name in registry.native - registry.drafts if not is_read(name)}
    listed = [name for names in REASONS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == unread


def test_the_list_can_be_read() -> None:
    assert all(reason.endswith(".") and names == sorted(names) for reason, names in REASONS.items())
