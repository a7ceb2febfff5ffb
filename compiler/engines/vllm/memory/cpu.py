"""What a server of the CPU build takes of main memory, before its KV cache is sized."""

from __future__ import annotations

from compiler.catalog.vllm.overheads import CpuOverheads
from compiler.checkpoints.architecture import Architecture
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange


def cpu_rows(
    overheads: CpuOverheads, architecture: Architecture, shape: ServerShape, weights: LedgerRow
) -> tuple[LedgerRow, ...]:
    """Rows of a server on a CPU, in the order in which it takes the memory."""
    hidden = shape.max_num_batched_tokens * architecture.hidden_size * 4
    mlp = shape.max_num_batched_tokens * architecture.intermediate_size * 4
    logits = shape.max_num_seqs * architecture.vocab_size
    peak = ByteRange(0, max(2 * mlp + 2 * hidden, logits * 8), 3 * mlp + 6 * hidden + logits * 16)
    return (
        LedgerRow(
            RowKind.PROCESS, "server processes", overheads.process.bytes, Basis.ESTIMATE, overheads.process.source
        ),
        weights,
        LedgerRow(
            RowKind.ACTIVATION,
            "activation peak",
            peak,
            Basis.ESTIMATE,
            "forward pass and sampler in float32, from the model's widths",
        ),
    )
