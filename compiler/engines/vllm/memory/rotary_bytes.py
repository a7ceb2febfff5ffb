"""Bytes of a model's tables of rotary positions on one rank."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.rotary_table import VIDEO_POSITIONS, RotaryTable
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.overheads import GpuOverheads


def rotary_tables(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> int:
    """Bytes of cosines and sines; the tables are made whole on every rank, whatever max_model_len is asked for."""
    ahead = VIDEO_POSITIONS if overheads.rules.videos_run_ahead else 1
    return sum(
        table.rows * (ahead if table.counted else 1) * table.width * SERVED_BYTES[_rotary_dtype(table, shape)]
        for table in architecture.rotary
    )


def _rotary_dtype(table: RotaryTable, shape: ServerShape) -> str:
    """Without compiled graphs FlashInfer rotates, in float32 (deepseek_scaling_rope.py)."""
    eager = table.eager_dtype if shape.enforce_eager else None
    return table.dtype or eager or shape.served_dtype
