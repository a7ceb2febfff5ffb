"""What one vLLM server takes on one rank, row by row, before its KV cache is sized.

The order is that of a start-up (vllm/v1/worker/gpu_worker.py of 0.33.0): context and NCCL before vLLM's snapshot, then
weights, buffers, the profile run's peak, graphs; last the allocations that come after the KV cache was sized.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.engines.vllm.drafter import Drafter
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.memory.activation import peak_row
from compiler.engines.vllm.memory.attention.stages import attention_of
from compiler.engines.vllm.memory.buffers import buffers_row
from compiler.engines.vllm.memory.context import context_memory
from compiler.engines.vllm.memory.cpu import cpu_rows
from compiler.engines.vllm.memory.encoder_budget import tower_memory
from compiler.engines.vllm.memory.graphs import graph_memory, graph_overhead
from compiler.engines.vllm.memory.growth import non_torch_growth
from compiler.engines.vllm.memory.late import late_row
from compiler.engines.vllm.memory.lora.rows import adapter_rows
from compiler.engines.vllm.memory.network import network_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.speculation.rows import draft_rows
from compiler.engines.vllm.memory.unified import shared_memory_rows
from compiler.engines.vllm.memory.weights import weights_row
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.engines.vllm.releases.release import Release
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange


def fixed_rows(
    release: Release, checkpoint: Checkpoint, shape: ServerShape, layout: KvLayout, drafter: Drafter | None = None
) -> tuple[LedgerRow, ...]:
    """Every row but the KV cache; `layout` is for the block tables."""
    capability, backend = shape.compute_capability, shape.moe_backend
    weights = weights_row(checkpoint, shape.parallelism, shape.served_dtype, capability, backend)
    adapters = tuple(adapter_rows(release, checkpoint.architecture, shape))
    if release.gpu is not None:
        rows = gpu_rows(release.gpu, checkpoint, shape, layout, weights)
        if drafter is not None:
            rows = draft_rows(release.gpu, checkpoint, shape, layout=layout, drafter=drafter, rows=rows)
        return (*rows, *adapters)
    if release.cpu is not None:
        return (*cpu_rows(release.cpu, checkpoint.architecture, shape, weights, drafter), *adapters)
    raise ValueError(f"vLLM {release.version} has no overheads")


def gpu_rows(
    overheads: GpuOverheads, checkpoint: Checkpoint, shape: ServerShape, layout: KvLayout, weights: LedgerRow
) -> tuple[LedgerRow, ...]:
    """Rows of a server on a GPU, in the order in which it takes the memory."""
    architecture = checkpoint.architecture
    attention, encoder = attention_of(checkpoint, shape, layout), tower_memory(architecture, shape)
    peak = peak_row(overheads, checkpoint, shape, attention.profiled, encoder)
    return (
        _context_row(overheads, shape),
        weights,
        buffers_row(overheads, checkpoint, shape, attention, encoder),
        peak,
        _growth_row(overheads, architecture, shape),
        *network_rows(shape),
        _graphs_row(overheads, architecture, shape),
        late_row(overheads, architecture, shape, layout, attention),
        _fragments_row(overheads, peak),
        *shared_memory_rows(shape, weights),
    )


def _context_row(overheads: GpuOverheads, shape: ServerShape) -> LedgerRow:
    context = context_memory(overheads, shape)
    title = "CUDA context and communication"
    return LedgerRow(RowKind.OUTSIDE, title, context.bytes, Basis.ESTIMATE, context.source)


def _growth_row(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> LedgerRow:
    growth = non_torch_growth(overheads, architecture, shape)
    return LedgerRow(RowKind.NON_TORCH, "non-torch growth", growth.bytes, Basis.ESTIMATE, growth.source)


def _graphs_row(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> LedgerRow:
    kind = RowKind.CUDA_GRAPHS if overheads.rules.graphs_in_budget else RowKind.OUTSIDE
    source = f"captured sizes × layers; {graph_overhead(overheads, architecture, shape).source}"
    if shape.adapters is not None:
        source += "; each once more with adapters: vllm/v1/worker/gpu/lora_utils.py"
    return LedgerRow(kind, "CUDA graphs", graph_memory(overheads, architecture, shape), Basis.ESTIMATE, source)


def _fragments_row(overheads: GpuOverheads, peak: LedgerRow) -> LedgerRow:
    rests = ByteRange(0, 0, peak.bytes.high // overheads.fragmentation)
    source = f"at most 1/{overheads.fragmentation} of the activation peak, which vLLM counts in allocated bytes"
    return LedgerRow(RowKind.OUTSIDE, "fragments in torch's allocator", rests, Basis.ESTIMATE, source)
