"""What runs of layers take, without going through them for each division that is tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from compiler.engines.llama_cpp.memory.placement import HOST
from compiler.engines.llama_cpp.memory.units import Sizes


@dataclass(frozen=True, slots=True)
class Sums:
    """Bytes of the first layers, from none to all: what any run of them takes is a difference."""

    card: tuple[int, ...]
    host: tuple[int, ...]

    @classmethod
    def of(cls, sizes: Iterable[Sizes]) -> Sums:
        """Of layers in their order."""
        each = tuple(sizes)
        card, host = (one.card for one in each), (one.host for one in each)
        return cls(tuple(accumulate(card, initial=0)), tuple(accumulate(host, initial=0)))

    def on(self, device: int, layers: range) -> int:
        """What layers take of a device, or of the HOST."""
        sums = self.host if device == HOST else self.card
        return sums[layers.stop] - sums[layers.start]
