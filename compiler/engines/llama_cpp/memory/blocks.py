"""What a model's tensor table tells of its graph, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from compiler.engines.llama_cpp.models.shape import Shape
from compiler.gguf.model import GgufModel


@dataclass(frozen=True, slots=True)
class LayerTensors:
    """What one layer consists of.

    Attributes:
        names: of its tensors, such as `attn_q.weight`.
        rows: of some matrices, by name.
    """

    names: frozenset[str]
    rows: tuple[tuple[str, int], ...]

    def has(self, name: str) -> bool:
        """Whether it has such a tensor."""
        return name in self.names

    def rows_of(self, name: str) -> int:
        """Outputs of a matrix; 0 without it."""
        return dict(self.rows).get(name, 0)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The layers of the main model."""

    layers: tuple[LayerTensors, ...]

    def __hash__(self) -> int:
        """Of the first layer: most of a model's are alike."""
        return hash((len(self.layers), self.layers[:1]))

    def any_has(self, name: str) -> bool:
        """Whether some layer has such a tensor."""
        return any(layer.has(name) for layer in self.layers)


_SIZED = frozenset(
    {"ffn_up.weight", "ffn_up_shexp.weight", "attn_q_a.weight", "attn_q_norm.weight", "ssm_dt.bias"},
)
"""Tensors whose size the header's keys do not always tell."""


def read_blocks(model: GgufModel, shape: Shape) -> Blocks:
    """The tensors of each layer."""
    found = ((g.name, g.layers, g.shape[-1] if g.name in _SIZED else 0) for g in model.groups if g.layers is not None)
    return _blocks(tuple(found), len(shape.main_layers))


# Quantizations of one model have tensors of the same names.
@lru_cache(maxsize=256)
def _blocks(groups: tuple[tuple[str, tuple[int, ...], int], ...], count: int) -> Blocks:
    names: list[list[str]] = [[] for _ in range(count)]
    rows: list[list[tuple[str, int]]] = [[] for _ in range(count)]
    for name, layers, row in groups:
        for layer in layers:
            if layer < count:
                names[layer].append(name)
                rows[layer] += [(name, row)] if row else []
    return Blocks(tuple(LayerTensors(frozenset(names[i]), tuple(sorted(rows[i]))) for i in range(count)))
