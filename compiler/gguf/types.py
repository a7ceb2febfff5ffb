"""Types of GGUF's tensors: how many elements are stored together, and in how many bytes.

ggml/include/ggml.h (codes), ggml/src/ggml.c (names, blocks) and ggml/src/ggml-common.h (bytes of a block), b10435.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TensorType:
    """How a tensor's elements are stored.

    Attributes:
        code: the number in a header.
        name: as llama.cpp prints it (`f16`, `q4_K`).
        block: elements that are stored together; a row holds whole blocks.
        block_bytes: of one block.
    """

    code: int
    name: str
    block: int
    block_bytes: int

    def row_bytes(self, elements: int) -> int:
        """Bytes of a row of so many elements, which are whole blocks."""
        return elements // self.block * self.block_bytes


# Code, name, elements of a block, bytes of a block.
_TYPES = (
    (0, "f32", 1, 4), (1, "f16", 1, 2), (2, "q4_0", 32, 18), (3, "q4_1", 32, 20), (6, "q5_0", 32, 22),
    (7, "q5_1", 32, 24), (8, "q8_0", 32, 34), (9, "q8_1", 32, 36), (10, "q2_K", 256, 84), (11, "q3_K", 256, 110),
    (12, "q4_K", 256, 144), (13, "q5_K", 256, 176), (14, "q6_K", 256, 210), (15, "q8_K", 256, 292),
    (16, "iq2_xxs", 256, 66), (17, "iq2_xs", 256, 74), (18, "iq3_xxs", 256, 98), (19, "iq1_s", 256, 50),
    (20, "iq4_nl", 32, 18), (21, "iq3_s", 256, 110), (22, "iq2_s", 256, 82), (23, "iq4_xs", 256, 136),
    (24, "i8", 1, 1), (25, "i16", 1, 2), (26, "i32", 1, 4), (27, "i64", 1, 8), (28, "f64", 1, 8),
    (29, "iq1_m", 256, 56), (30, "bf16", 1, 2), (34, "tq1_0", 256, 54), (35, "tq2_0", 256, 66),
    (39, "mxfp4", 32, 17), (40, "nvfp4", 64, 36), (41, "q1_0", 128, 18), (42, "q2_0", 64, 18),
)  # fmt: skip

TENSOR_TYPES: Final[Mapping[int, TensorType]] = {row[0]: TensorType(*row) for row in _TYPES}
"""Every type that a header may name, by code."""

TYPES_BY_NAME: Final[Mapping[str, TensorType]] = {known.name: known for known in TENSOR_TYPES.values()}
"""The same by name."""

REMOVED_TYPES: Final[Mapping[int, str]] = {
    4: "q4_2", 5: "q4_3", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8", 36: "iq4_nl_4_4", 37: "iq4_nl_4_8",
    38: "iq4_nl_8_8",
}  # fmt: skip
"""Types that old files have and llama.cpp loads no more."""
