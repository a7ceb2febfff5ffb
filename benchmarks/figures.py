"""The figures by which the ledger is judged, over all start-ups that were replayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case, cards_like
from benchmarks.hub.folders import facts_of
from benchmarks.startups import Prediction, requested_of
from compiler.catalog.hardware.gpus import GPUS, shares_memory
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.rows import fixed_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases import RELEASES
from compiler.units import GIB

CHARGED_SINCE = (0, 21)
"""From this release on vLLM charges CUDA graphs to the budget."""

_RELEASE = RELEASES["0.33.0"]
_WIDTH_OF, _WIDTH_ON = "meta-llama/Llama-3.1-8B-Instruct", "rtx-4090"


def is_recent_and_discrete(case: Case) -> bool:
    """Whether its release charges graphs, and its GPU has a memory of its own."""
    shared = any(shares_memory(gpu.compute_capability) for gpu in cards_like(case)) or "unified" in str(
        case.data.get("gpu", "")
    )
    return case.number >= CHARGED_SINCE and not shared and not case.shares_gpu


@dataclass(frozen=True, slots=True)
class Inside:
    """What a start-up used of its budget beside the KV cache, in bytes, and what the ledger says of it."""

    case: Case
    said: Prediction
    measured: int

    @property
    def above(self) -> bool:
        """Whether it is more than the ledger's high end."""
        return self.said.inside is not None and self.measured > self.said.inside.high


def insides(judged: dict[str, tuple[Case, Prediction]]) -> Iterator[Inside]:
    """Every start-up of which both are known: requested less the KV cache that was left of it."""
    for case, said in judged.values():
        requested, cache = requested_of(case), case.measured("kv_cache_gib")
        if requested is not None and cache is not None and said.inside is not None and is_recent_and_discrete(case):
            yield Inside(case, said, requested - int(cache * GIB))


def interval_width(hub: Path) -> int | None:
    """Bytes between what is expected and the high end, of all rows of an 8B model on one card of 24 GB.

    None where the folder does not hold the model.
    """
    facts = facts_of(_WIDTH_OF, hub)
    if facts is None:
        return None
    card, architecture = GPUS[_WIDTH_ON], read_architecture(facts.config)
    limits = _RELEASE.batch_limits(card.memory, card.title, card.compute_capability)
    shape = ServerShape(
        tensor_parallel_size=1,
        max_model_len=8192,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        served_dtype="bfloat16",
        compute_capability=card.compute_capability,
        multiprocessors=card.multiprocessors,
    )
    layout = rank_kv_layout(
        architecture,
        shape.parallelism,
        dtype="bfloat16",
        block_size=_RELEASE.block_size,
        max_num_batched_tokens=shape.max_num_batched_tokens,
    )
    rows = fixed_rows(_RELEASE, Checkpoint(architecture, None, None), shape, layout)
    return sum(row.bytes.high - row.bytes.expected for row in rows)
