"""The parameters on one rank as a row of the ledger: exactly where headers and config.json agree."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.ranks import Parallelism, padded_rows
from compiler.checkpoints.parameters.tensors import (
    as_loaded,
    content,
    drafting_tensors,
    expected_tensors,
    second_head_elements,
)
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.engines.vllm.kernels.expert_backends import AUTO
from compiler.engines.vllm.memory.kernel_padding import fitted, widened_bytes
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.lock.models import TensorKind
from compiler.units import ByteRange


@lru_cache(maxsize=4096)
def weights_row(
    checkpoint: Checkpoint,
    parallelism: Parallelism,
    served_dtype: str,
    capability: tuple[int, int] | None,
    moe_backend: str = AUTO,
) -> LedgerRow:
    """Parameters on one rank, and how well they are known: exactly where headers and config.json agree."""
    row = _parameters_row(checkpoint, parallelism, served_dtype)
    architecture, quantization = checkpoint.architecture, fitted(checkpoint.quantization, capability, moe_backend)
    more = widened_bytes(
        architecture, quantization, parallelism, served_dtype, capability=capability, moe_backend=moe_backend
    )
    if quantization is not checkpoint.quantization:
        more += rank_weights(architecture, quantization, parallelism, served_dtype=served_dtype) - row.bytes.low
    if not more:
        return row
    source = f"{row.source}; padded and widened for this GPU: vllm/model_executor/layers/fused_moe/{{oracle,router}}"
    return replace(row, bytes=row.bytes + ByteRange.exact(more), source=source)


def _parameters_row(checkpoint: Checkpoint, parallelism: Parallelism, served_dtype: str) -> LedgerRow:
    size = rank_weights(checkpoint.architecture, checkpoint.quantization, parallelism, served_dtype=served_dtype)
    if checkpoint.architecture.assumed:
        source = "all tensors of the safetensors headers"
        return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(size), Basis.ESTIMATE, source)
    if checkpoint.tensors is None:
        source = "parameters that config.json implies, split as vLLM splits them; no header was read"
        return _with_second_head(checkpoint, parallelism, served_dtype, size, source)
    more, source = _unexplained(checkpoint, checkpoint.tensors, parallelism, served_dtype)
    if more == 0:
        return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(size), Basis.EXACT, source)
    head = _second_head(checkpoint.architecture, checkpoint.tensors, parallelism, served_dtype)
    likely = size + head if checkpoint.architecture.presumes_tie else size
    return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange(size, likely, size + more), Basis.ESTIMATE, source)


def _with_second_head(
    checkpoint: Checkpoint, parallelism: Parallelism, served_dtype: str, size: int, source: str
) -> LedgerRow:
    """Without headers, an output head is taken for stored where only a composed class's default ties it."""
    architecture = checkpoint.architecture
    if not architecture.presumes_tie:
        return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(size), Basis.DERIVED, source)
    rows = padded_rows(architecture.vocab_size) // parallelism.tensor_parallel_size
    head = rows * architecture.hidden_size * SERVED_BYTES[served_dtype]
    source += "; the config does not say whether lm_head is tied, and checkpoints of this class hold one"
    return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange(size, size + head, size + head), Basis.ESTIMATE, source)


def _unexplained(
    checkpoint: Checkpoint, tensors: tuple[TensorKind, ...], parallelism: Parallelism, served_dtype: str
) -> tuple[int, str]:
    """Bytes that the headers hold beyond what config.json implies, and how the weights are known."""
    architecture, width = checkpoint.architecture, SERVED_BYTES[served_dtype]
    # A model that generates nothing has no output head to load (vllm/model_executor/models/adapters.py).
    tied = architecture.tie_word_embeddings or architecture.pooling
    implied = expected_tensors(architecture, checkpoint.quantization)
    found = content(as_loaded(tensors, implied), tied=tied, skipped=architecture.drafting_prefixes)
    expected = content(implied, tied=tied)
    head = _second_head(architecture, tensors, parallelism, served_dtype)
    source = "safetensors headers and config.json agree; split as vLLM splits them"
    if head:
        source += "; the config ties lm_head to the embeddings, and a copy that differs from them would be kept"
    drafting = content(drafting_tensors(architecture, checkpoint.quantization), tied=False)
    if found in (expected, expected + drafting):
        return head, source
    more = max(0, found.float_elements - expected.float_elements) * width
    more += max(0, found.packed_bytes - expected.packed_bytes)
    return head + max(more, 1), f"config.json, split as vLLM splits it; the headers hold {more} bytes more than that"


def _second_head(
    architecture: Architecture, tensors: tuple[TensorKind, ...], parallelism: Parallelism, served_dtype: str
) -> int:
    elements = 0 if architecture.pooling else second_head_elements(tensors, architecture)
    return elements * SERVED_BYTES[served_dtype] // parallelism.tensor_parallel_size
