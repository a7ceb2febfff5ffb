"""Whether the figures of a lock can be of one checkpoint: its tensors' bytes, their sum, and the sizes of the files."""

from __future__ import annotations

import math
from collections.abc import Iterable

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.linear import dtype_bytes
from compiler.lock.models import TensorKind


class ContradictionError(ValueError):
    """Headers and config.json are of different models, or of one that is incomplete.

    Attributes:
        lines: one for each tensor.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__(self.lines[0])


def check_totals(total: int, kinds: Iterable[TensorKind], sizes: Iterable[int | None]) -> None:
    """Refuse figures of a lock that cannot be of one checkpoint.

    Args:
        total: bytes of all tensors, as the lock has them.
        sizes: of the files; None where one is not known.

    Raises:
        ContradictionError: with both numbers.
    """
    summed = _summed(kinds)
    if summed is not None and summed != total:
        raise ContradictionError([f"the lock says {total} bytes of tensors, those it lists have {summed}"])
    files = list(sizes)
    if not files or None in files:
        return
    held = sum(size or 0 for size in files)
    if not total <= held <= total + len(files) * MAX_HEADER:
        message = f"the lock says {total} bytes of tensors, in {len(files)} files of {held} bytes"
        raise ContradictionError([f"{message}; a header has at most {MAX_HEADER}"])


# The longest header that is read (compiler/resolve/reading/safetensors.py), with the eight bytes before it.
MAX_HEADER = 25_000_008


def _summed(kinds: Iterable[TensorKind]) -> int | None:
    """Bytes of tensors; None where a dtype is not known."""
    try:
        return sum(math.prod(kind.shape) * kind.count * dtype_bytes(kind.dtype) for kind in kinds)
    except ConfigError:
        return None
