"""What a release's model classes say of LoRA adapters: which layers take them, and in how many pieces.

The data is `adapters` in `VERSION/architectures.json`, read from the classes by `tools/extract_architectures.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from compiler.engines.vllm.releases.architectures import load_registry
from compiler.engines.vllm.releases.data import read_release_file

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""That `--max-lora-rank` takes (vllm/config/lora.py:MaxLoRARanks)."""


@dataclass(frozen=True, slots=True)
class AdapterClass:
    """One class that serves adapters (vllm/model_executor/models/interfaces.py:SupportsLoRA).

    Attributes:
        packed: the engine's fused modules, and the projections of checkpoints in each.
        tables: embeddings and output heads that adapters may change, by the last part of their names.
        joined: gate and up of its experts are one tensor.
        ungated: its experts have no gate.
        skipped: prefixes of an adapter's tensors that are passed over.
        wraps: it holds a language model beside towers, and only that takes adapters.
    """

    packed: Mapping[str, tuple[str, ...]] = field(hash=False)
    tables: frozenset[str] = frozenset()
    joined: bool = False
    ungated: bool = False
    skipped: tuple[str, ...] = ()
    wraps: bool = False


def adapter_class(version: str, architecture: str) -> AdapterClass | None:
    """Of the class that serves an architecture; None where it takes no adapters, or nothing is known of it."""
    return _classes(version).get(load_registry(version).class_of(architecture) or "")


@cache
def _classes(version: str) -> Mapping[str, AdapterClass]:
    # Of a release whose classes nobody has asked, none takes adapters.
    records = read_release_file(version, "architectures.json").get("adapters", {})
    return {
        name: AdapterClass(
            packed={module: tuple(parts) for module, parts in record["packed"].items()},
            tables=frozenset(record.get("tables", ())),
            joined=record.get("experts") == "joined",
            ungated=record.get("experts") == "ungated",
            skipped=tuple(record.get("skipped", ())),
            wraps=record.get("inner", False),
        )
        for name, record in records.items()
    }
