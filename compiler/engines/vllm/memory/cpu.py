"""What a server of the CPU build takes of main memory, before its KV cache is sized."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.engines.vllm.drafter import Drafter
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.speculation.drafting import draft_weights_row, verification_rows
from compiler.engines.vllm.releases.overheads import CpuOverheads
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange


def cpu_rows(
    overheads: CpuOverheads,
    architecture: Architecture,
    shape: ServerShape,
    weights: LedgerRow,
    drafter: Drafter | None = None,
) -> tuple[LedgerRow, ...]:
    """Rows of a server on a CPU, in the order in which it takes the memory."""
    drafts = None if drafter is None else draft_weights_row(drafter, shape)
    peak = _peak(architecture, shape)
    if drafter is not None and drafter.checkpoint is not None:
        # The smaller model runs after the larger one, beside what that left.
        more = _peak(drafter.checkpoint.architecture, shape)
        peak = ByteRange(peak.low, max(peak.expected, more.expected), peak.high + more.high)
    return (
        LedgerRow(
            RowKind.PROCESS, "server processes", overheads.process.bytes, Basis.ESTIMATE, overheads.process.source
        ),
        weights,
        *(() if drafts is None else (drafts,)),
        LedgerRow(
            RowKind.ACTIVATION,
            "activation peak",
            peak,
            Basis.ESTIMATE,
            "forward pass and sampler in float32, from the model's widths",
        ),
    )


def _peak(architecture: Architecture, shape: ServerShape) -> ByteRange:
    hidden = shape.max_num_batched_tokens * architecture.hidden_size * 4
    mlp = shape.max_num_batched_tokens * architecture.intermediate_size * 4
    rows = verification_rows(shape) if shape.draft_tokens else shape.max_num_seqs
    logits = rows * architecture.vocab_size
    return ByteRange(0, max(2 * mlp + 2 * hidden, logits * 8), 3 * mlp + 6 * hidden + logits * 16)
