"""The rows of a server on a GPU, with what drafting adds to them, in the order of a start-up."""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.checkpoint import Checkpoint
from compiler.engines.vllm.drafter import Drafter
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.memory.activation import peak_row
from compiler.engines.vllm.memory.attention.stages import attention_of
from compiler.engines.vllm.memory.buffers import segment_rests
from compiler.engines.vllm.memory.graphs import graph_memory
from compiler.engines.vllm.memory.rotary_bytes import rotary_tables
from compiler.engines.vllm.memory.shape import ServerShape, hidden_bytes
from compiler.engines.vllm.memory.speculation.drafting import (
    draft_buffers_row,
    draft_weights_row,
    held_states,
    verification_row,
)
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.ledger import LedgerRow, RowKind
from compiler.units import ByteRange

GRAPHS = "CUDA graphs"


def draft_rows(
    overheads: GpuOverheads,
    checkpoint: Checkpoint,
    shape: ServerShape,
    *,
    layout: KvLayout,
    drafter: Drafter,
    rows: tuple[LedgerRow, ...],
) -> tuple[LedgerRow, ...]:
    """Those of the model alone, and what comes beside them.

    Args:
        layout: with the caches of the draft.
        rows: of the model.
    """
    found: list[LedgerRow] = []
    profiled = ByteRange.exact(0)
    weights = draft_weights_row(drafter, shape)
    for row in rows:
        if row.kind is RowKind.ACTIVATION:
            found.append(_buffers(overheads, checkpoint, shape, layout, drafter))
            profiled = _peak(overheads, checkpoint, shape, layout=layout, drafter=drafter, alone=row.bytes)
            found.append(replace(row, bytes=profiled))
        elif row.title == GRAPHS and drafter.checkpoint is not None and drafter.head is not None:
            layers = drafter.checkpoint.architecture.num_layers
            size = graph_memory(overheads, checkpoint.architecture, shape, drafting_layers=layers)
            found.append(replace(row, bytes=size))
        else:
            found.append(row)
        if row.kind is RowKind.WEIGHTS and weights is not None:
            found.append(weights)
    return (*found, verification_row(overheads, checkpoint.architecture, shape, profiled))


def _buffers(
    overheads: GpuOverheads, checkpoint: Checkpoint, shape: ServerShape, layout: KvLayout, drafter: Drafter
) -> LedgerRow:
    rests, tables = ByteRange.exact(0), 0
    if drafter.checkpoint is not None:
        rests = segment_rests(
            drafter.checkpoint,
            shape.parallelism,
            shape.served_dtype,
            shape.compute_capability,
            largest_split=overheads.rules.largest_split,
            moe_backend=shape.moe_backend,
        )
        tables = rotary_tables(overheads, drafter.checkpoint.architecture, shape)
    reads_media = bool(checkpoint.architecture.towers)
    return draft_buffers_row(drafter, shape, len(layout.groups), rests, tables, reads_media=reads_media)


def _peak(
    overheads: GpuOverheads,
    checkpoint: Checkpoint,
    shape: ServerShape,
    *,
    layout: KvLayout,
    drafter: Drafter,
    alone: ByteRange,
) -> ByteRange:
    """The larger of the model's own run, with the states that it keeps for a head, and of the draft's after it."""
    held = held_states(drafter, checkpoint.architecture, shape)
    peak = alone + held
    if drafter.checkpoint is None:
        return peak
    attention = attention_of(drafter.checkpoint, shape, layout)
    draft = peak_row(overheads, drafter.checkpoint, shape, attention.profiled, None).bytes
    # What the model gave is held meanwhile, and a head's inputs are as wide as two hidden states.
    given = hidden_bytes(checkpoint.architecture, shape) + hidden_bytes(drafter.checkpoint.architecture, shape)
    after = draft + held + ByteRange(0, given, 2 * given)
    return ByteRange(max(peak.low, after.low), max(peak.expected, after.expected), max(peak.high, after.high))
