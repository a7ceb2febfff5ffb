"""How buffers round up sizes."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.gguf.types import TensorType

CUDA_ALIGNMENT = 128
"""Of tensors in CUDA's buffers (ggml/src/ggml-cuda/ggml-cuda.cu, get_alignment, b10435)."""
HOST_ALIGNMENT = 32
"""Of tensors in the host's (ggml/src/ggml-backend.cpp, TENSOR_ALIGNMENT, b10435)."""
MATRIX_ROW_PADDING = 512
"""Elements to which CUDA pads the last row of a quantized tensor (ggml/src/ggml-cuda/common.cuh, b10435)."""


def padded(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


def cuda_bytes(kind: TensorType, row: int, size: int) -> int:
    """What a tensor of `size` bytes and rows of `row` elements takes of a card (get_alloc_size, b10435)."""
    if kind.block > 1 and row % MATRIX_ROW_PADDING:
        size += kind.row_bytes(MATRIX_ROW_PADDING - row % MATRIX_ROW_PADDING)
    return padded(size, CUDA_ALIGNMENT)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of tensors where they lie on a card, and where they lie on the host."""

    card: int = 0
    host: int = 0

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(self.card + other.card, self.host + other.host)
