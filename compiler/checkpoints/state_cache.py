"""Recurrent states, as vLLM keeps them (vllm/model_executor/layers/mamba/mamba_utils.py of 0.33.0)."""

from __future__ import annotations

from dataclasses import dataclass

STATE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
"""Bytes of an element, by the dtypes in which states may be kept."""


@dataclass(frozen=True, slots=True)
class StatePart:
    """One tensor of a recurrent state (vllm/model_executor/layers/mamba/mamba_utils.py).

    Attributes:
        rows: that every rank holds, such as the taps that a convolution remembers.
        divided: elements of a row that ranks divide.
        grouped, groups: further elements of a row, in so many groups; each rank holds at least one group.
        dtype: torch's name; None: what the model is served in.
    """

    divided: int
    rows: int = 1
    grouped: int = 0
    groups: int = 1
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class StateCache:
    """The recurrent state of one request in one layer (Mamba, gated delta net, …); it does not grow with length.

    Attributes:
        kind: of the layer, as vLLM calls its backend (`mamba2`, `gdn_attention`, …).
        checkpoints_on: major compute capabilities on which a prefill exports a state from its midst, so that a
            request holds one more; None for every device.
        alignment: tokens that blocks are a multiple of where such a state is exported.
        replicated: every rank holds all of it.
    """

    kind: str
    parts: tuple[StatePart, ...]
    checkpoints_on: tuple[int, ...] | None = ()
    alignment: int = 1
    replicated: bool = False
