"""What of a llama.cpp server decides its speed, where all of it lies on GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.engines.llama_cpp.demand import Demand
from compiler.engines.llama_cpp.models.shape import Layer
from compiler.engines.llama_cpp.settings import CACHE_TYPES
from compiler.engines.llama_cpp.terms import options_of
from compiler.engines.llama_cpp.variant import Variant
from compiler.speed.shape import Arithmetic, Experts, KvGroup, Part, Replica, Shape

_FLOAT = 4


def replica_of(demand: Demand) -> Replica | None:
    """The model as its cards run it; None with parts in main memory, and of what writes no text.

    Layers lie on one card after another, and a request goes through them in turn: it takes as long as on one.
    """
    assert isinstance(demand.variant, Variant)  # noqa: S101  demands of this engine are made of its variants
    division = demand.division
    if not division.gpu_layers or division.uses_host or options_of(demand.terms).pools:
        return None
    return Replica(_shape(demand.variant, demand.settings.key_type), 1)


def _shape(variant: Variant, cache_type: str) -> Shape:
    model, weights = variant.model.served.shape, variant.model.served.weights
    counted = _Counted(variant.bits_per_weight / 8)
    layers, kept = model.main_layers, CACHE_TYPES[cache_type]
    return Shape(
        layers=len(layers),
        hidden=model.embedding,
        attention=counted.part(sum(layer.others.card for layer in weights.layers)),
        dense=Part(0, counted.each),
        head=counted.part(weights.output.card),
        experts=_experts(variant, counted),
        kv=tuple(_kv_groups(layers, model.window)),
        kv_heads=1,
        kv_bytes=kept.block_bytes / kept.block,
        all_reduces=0,
        arithmetic=Arithmetic.GGUF,
        state_elements=sum(layer.is_recurrent for layer in layers) * model.state.bytes // _FLOAT,
        linear_attention=any(layer.is_recurrent for layer in layers),
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """Parameters of tensors of which the bytes are known, by the mean over the model."""

    each: float

    def part(self, size: int) -> Part:
        return Part(round(size / self.each), self.each)


def _experts(variant: Variant, counted: _Counted) -> Experts | None:
    experts = variant.model.served.shape.experts
    sizes = [layer.experts.card for layer in variant.model.served.weights.layers if layer.experts.card]
    if not sizes or not experts.count:
        return None
    parameters = counted.part(sum(sizes)).parameters // (len(sizes) * experts.count)
    return Experts(len(sizes), experts.count, experts.used, parameters, counted.each)


def _kv_groups(layers: tuple[Layer, ...], window: int) -> Iterator[KvGroup]:
    kinds = Counter(layer for layer in layers if layer.has_cache)
    for layer, count in kinds.items():
        elements, queries = layer.key_width + layer.value_width, layer.heads * layer.key_length
        yield KvGroup(count, elements, window if layer.is_windowed else None, queries)
