"""A table of rotary positions, as vLLM keeps it (vllm/model_executor/layers/rotary_embedding of 0.33.0)."""

from __future__ import annotations

from dataclasses import dataclass

VIDEO_POSITIONS = 4
"""Rows of a rotary table for each position, as those of a video may run ahead of its tokens (mrope.py)."""


@dataclass(frozen=True, slots=True)
class RotaryTable:
    """Cosines and sines of positions, which layers that rotate alike share, on every rank and every pipeline stage.

    Attributes:
        rows: one for each position.
        width: cosines and sines of a row.
        dtype: where it is fixed; None: what the model is served in.
        eager_dtype: the same with enforce_eager only.
        counted: positions never exceed the tokens; before 0.32 vLLM made such a table as long as one for videos.
    """

    rows: int
    width: int
    dtype: str | None = None
    eager_dtype: str | None = None
    counted: bool = False
