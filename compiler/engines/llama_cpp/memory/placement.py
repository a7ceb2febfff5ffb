"""Which device holds which layer (src/llama-model.cpp, load_tensors, b10435)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

from compiler.engines.llama_cpp.settings import Settings

HOST = -1
"""The place of what no GPU holds."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where layers and the output are, as indices of devices or HOST. Each holds layers that follow one another.

    Attributes:
        expert_hosted: layers from the first whose experts are on the host all the same.
        cache_hosted: caches are on the host wherever their layers are.
    """

    layers: tuple[int, ...]
    output: int
    expert_hosted: int
    cache_hosted: bool

    @property
    def is_whole(self) -> bool:
        """Whether no layer, expert or cache stays on the host."""
        return HOST not in self.layers and not self.expert_hosted and not self.cache_hosted

    def layers_on(self, device: int) -> range:
        """The layers of a device, or of the HOST, which are the first."""
        count = self.layers.count(device)
        first = self.layers.index(device) if count else 0
        return range(first, first + count)

    def caches_on(self, device: int) -> range:
        """The layers whose caches are there."""
        if self.cache_hosted:
            return range(len(self.layers) if device == HOST else 0)
        return self.layers_on(device)


@lru_cache(maxsize=1024)
def placement(settings: Settings, layers: int) -> Placement:
    """Places of a model's layers, those of multi-token prediction among them."""
    wanted = layers + 1 if settings.gpu_layers is None else settings.gpu_layers
    active = min(wanted, layers + 1) if settings.devices else 0
    ends = _ends(settings.split)
    hosted = (HOST,) * (layers + 1 - active)
    places = hosted + tuple(_place(position, active, ends) for position in range(active))
    return Placement(places[:-1], places[-1], min(settings.cpu_moe, layers), not settings.offload_kv)


def _place(position: int, active: int, ends: tuple[float, ...]) -> int:
    if len(ends) == 1:
        return 0
    return min(bisect_right(ends, _single(position / active)), len(ends) - 1)


def _ends(split: tuple[float, ...]) -> tuple[float, ...]:
    """Where devices' shares end. llama.cpp sums in single precision, which decides layers at the borders."""
    sums, end = [], 0.0
    for share in split:
        end = _single(end + _single(share))
        sums.append(end)
    return tuple(_single(each / end) for each in sums)


def _single(number: float) -> float:
    (rounded,) = struct.unpack("f", struct.pack("f", number))
    return float(rounded)
