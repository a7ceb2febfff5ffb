"""What a server allocates after its KV cache was sized, where vLLM no longer looks."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.memory.attention.stages import Attention
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange


def late_row(
    overheads: GpuOverheads, architecture: Architecture, shape: ServerShape, layout: KvLayout, attention: Attention
) -> LedgerRow:
    """Block tables, what attention makes for them, and FlashInfer's workspace."""
    late = _block_tables(architecture, shape, layout) + attention.late
    sources = ["block tables: vllm/v1/worker/gpu/block_table.py", *attention.sources]
    if _may_use_flashinfer(shape, layout):
        late += overheads.flashinfer_workspace.bytes
        sources.append(overheads.flashinfer_workspace.source)
    return LedgerRow(RowKind.OUTSIDE, "allocated after KV sizing", late, Basis.ESTIMATE, "; ".join(sources))


def _block_tables(architecture: Architecture, shape: ServerShape, layout: KvLayout) -> ByteRange:
    blocks = sum(group.spec.table_columns(shape.max_model_len) for group in layout.groups)
    # Of layers that are only bounded, each may be in a group of its own.
    groups = architecture.num_layers if architecture.assumed else 1
    return ByteRange.exact(2 * 4 * shape.max_num_seqs * blocks * groups)


def _may_use_flashinfer(shape: ServerShape, layout: KvLayout) -> bool:
    """FlashInfer comes first on compute capability 10.x, and serves fp8 caches where FlashAttention does not."""
    major = shape.compute_capability[0] if shape.compute_capability else 0
    is_chosen = major == 10 or (layout.dtype == "fp8" and major != 9)  # noqa: PLR2004
    return is_chosen or shape.attention_backend == "FLASHINFER"
