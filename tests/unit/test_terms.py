"""Every term of latent and sparse attention reaches the ledger of some model on some card."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pytest

from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.attention import compressed, latent, stages
from compiler.engines.vllm.memory.rows import fixed_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases import RELEASES
from compiler.units import total
from tests.unit.test_memory_latent import FP8, V2_LITE, V3, V4_FLASH, V32
from tests.unit.test_minimax_m3 import M3


@dataclass(frozen=True)
class _Start:
    """Of a server whose ledger has the term."""

    config: dict[str, Any]
    capability: tuple[int, int]
    kv: str = "auto"
    quantization: dict[str, Any] | None = None
    ranks: int = 8


_BATCH = 1024  # so small that the scratch of experts does not hide other users of the shared workspace
STARTS = {
    "absorbed_bytes": _Start(V3, (9, 0), quantization=FP8),
    "block_scores_bytes": _Start(M3, (10, 0), ranks=4),
    "expanded_context_bytes": _Start(V3, (9, 0)),
    "gathered_context_bytes": _Start(V3, (9, 0)),
    "indexer_logits_bytes": _Start(V4_FLASH, (9, 0), kv="fp8"),
    "indexer_table_bytes": _Start(V32, (9, 0)),
    "indexer_workspace_bytes": _Start(V32, (9, 0)),
    "mask_bytes": _Start(V32, (10, 0), kv="bfloat16"),
    "packed_kernel_bytes": _Start(V4_FLASH, (12, 0), kv="fp8"),
    "packed_workspace_bytes": _Start(V4_FLASH, (10, 0), kv="fp8"),
    "picked_kernel_bytes": _Start(V32, (9, 0), kv="fp8_e4m3"),
    "picked_tokens_bytes": _Start(M3, (9, 0), ranks=4),
    "triton_workspace_bytes": _Start(V2_LITE, (8, 0), ranks=1),
    "unpacked_context_bytes": _Start(V32, (9, 0), kv="fp8"),
}
"""By the function of compiler/engines/vllm/memory/attention/latent.py."""


def _taken(start: _Start) -> int:
    """Bytes of all rows at their high end."""
    architecture = read_architecture(start.config)
    block = start.quantization
    quantization = None if block is None else read_quantization("fp8", block, start.config)
    length = architecture.max_model_len
    shape = ServerShape(start.ranks, length, 64, _BATCH, "bfloat16", start.capability)
    plan = attention_plan(
        architecture, capability=start.capability, served_dtype="bfloat16", kv_cache_dtype=start.kv,
        tensor_parallel_size=start.ranks,
    )  # fmt: skip
    layout = rank_kv_layout(
        architecture, shape.parallelism, dtype=plan.kv_dtype, block_size=plan.block_size, max_num_batched_tokens=_BATCH,
        served_dtype="bfloat16", compute_capability=start.capability,
    )  # fmt: skip
    rows = fixed_rows(RELEASES["0.33.0"], Checkpoint(architecture, quantization, None), shape, layout)
    return total(row.bytes for row in rows).high


def test_every_term_has_a_start() -> None:
    terms = {name for name, _ in inspect.getmembers(latent, inspect.isfunction) if name.endswith("_bytes")}
    assert terms == set(STARTS)


@pytest.mark.parametrize("term", STARTS)
def test_a_ledger_without_the_term_is_smaller(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _taken(STARTS[term])
    callers = [module for module in (stages, compressed) if hasattr(module, term)]
    for module in callers:
        monkeypatch.setattr(module, term, lambda *_, **__: 0)
    assert _taken(STARTS[term]) < whole


def test_packed_workspace_is_what_four_prefills_read() -> None:
    architecture = read_architecture(V4_FLASH)
    hopper = latent.Device((9, 0), "bfloat16", "fp8")
    size = latent.packed_workspace_bytes(architecture, hopper, max_model_len=1_048_576, max_num_batched_tokens=8192)
    gathered = 4 * (1_048_576 // 4 + 128 + 8192) * 512 * 2
    assert size == gathered + 8192 * 640 * 4 + 8192 * 4
    keys = latent.indexer_workspace_bytes(architecture, max_model_len=1_048_576)
    assert keys == 8 * 2 * 1_048_576 // 4 * 132 + (1 << 20)
    assert latent.picked_tokens_bytes(architecture, max_num_batched_tokens=8192) == 8192 * 512 * 4
