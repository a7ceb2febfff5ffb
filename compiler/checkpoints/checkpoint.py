"""A checkpoint as it was read: what every question about its bytes begins with."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.quantization.formats import Quantization
from compiler.lock.models import TensorKind


# Compared by identity: the solver asks for the weights of one checkpoint many times, and they are worked out once.
@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint as the arithmetic sees it.

    Attributes:
        tensors: from its headers; None where none could be read.
    """

    architecture: Architecture
    quantization: Quantization | None
    tensors: tuple[TensorKind, ...] | None
