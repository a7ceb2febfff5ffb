"""Weights on each device and on the host, to the byte: what a tensor table says, summed up once and then by layers.

Which buffer a tensor goes to: src/llama-model-loader.cpp, create_tensor; the kinds of tensors: src/llama-arch.cpp,
LLM_TENSOR_INFOS; b10435.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from itertools import accumulate

from compiler.engines.llama_cpp.memory.placement import HOST, Placement
from compiler.engines.llama_cpp.memory.sums import Sums
from compiler.engines.llama_cpp.memory.units import HOST_ALIGNMENT, Sizes, cuda_bytes, padded
from compiler.engines.llama_cpp.models.keys import ModelError
from compiler.engines.llama_cpp.models.shape import Shape
from compiler.gguf.model import GgufModel, TensorGroup

_EMBEDDING = "token_embd.weight"
_INPUT = frozenset({_EMBEDDING, "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight"})
_EMBEDDING_NORM = "token_embd_norm."
_ROTARY = ("rope_freqs", "rope_factors")
_EXPERT = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps")
"""What `--cpu-moe` keeps on the host (common/common.h, LLM_FFN_EXPS_REGEX)."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer: its experts, all else, and the largest tensor of each, which prompts stream through a card.

    Attributes:
        largest: bytes of its largest tensor, `largest_expert` of its largest experts' tensor.
        ungated: bytes of an FFN's matrices together where it has no gate, which are streamed as one.
    """

    experts: Sizes
    others: Sizes
    largest: int
    largest_expert: int
    ungated: int


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's tensors, summed up by where they go together.

    Attributes:
        layers: of the main model; layers of multi-token prediction are not loaded.
        experts, others: sums of the layers'.
        largest: of the first layers, from none to all, what a prompt streams at most at a time, `largest_expert` of
            their experts.
        rotating: layers that hold rotary factors.
        embedding: tokens and positions, always on the host.
        output: with the output layer, a copy of a tied embedding too.
        rotary: factors of which each buffer with a layer has a copy.
        tied: bytes of the embedding that the output shares while both are on the host.
    """

    layers: tuple[LayerWeights, ...]
    experts: Sums
    others: Sums
    largest: tuple[int, ...]
    largest_expert: tuple[int, ...]
    rotating: tuple[bool, ...]
    embedding: Sizes
    output: Sizes
    rotary: Sizes
    tied: int

    def on(self, device: int, placement: Placement) -> int:
        """Bytes on a device, or on the HOST."""
        size = self._layers_on(device, placement)
        if device == placement.output:
            size += self.output.card if device != HOST else self.output.host - self.tied
        layers = placement.layers_on(device)
        if self.rotary.host and any(self.rotating[layers.start : layers.stop]):
            size += self.rotary.card if device != HOST else self.rotary.host
        return size + (self.embedding.host if device == HOST else 0)

    def _layers_on(self, device: int, placement: Placement) -> int:
        layers, hosted = placement.layers_on(device), placement.expert_hosted
        if device == HOST:
            with_experts = range(max(layers.stop, hosted))
        else:
            with_experts = range(max(layers.start, hosted), max(layers.stop, hosted))
        return self.others.on(device, layers) + self.experts.on(device, with_experts)

    def streamed(self, placement: Placement) -> int:
        """Bytes of the largest tensor that a prompt brings from the host to a card."""
        hosted = placement.layers_on(HOST).stop
        return max(self.largest[hosted], self.largest_expert[max(hosted, placement.expert_hosted)])


def read_weights(model: GgufModel, shape: Shape) -> Weights:
    """The sums of a model's tensor table.

    Raises:
        ModelError: a tensor of a layer that the model has not, which llama.cpp would not load.
    """
    in_layers: list[list[TensorGroup]] = [[] for _ in shape.layers]
    embedding, output, rotary, tied = Sizes(), Sizes(), Sizes(), Sizes()
    for group in model.groups:
        if group.layers is not None:
            if group.layers[-1] >= len(in_layers):
                raise ModelError(f"`{group.one.name[:60]}` is of a layer that is not among {len(in_layers)}")
            for layer in group.layers:
                in_layers[layer].append(group)
        elif group.name in _INPUT:
            embedding += _sizes(group)
            tied = _sizes(group) if group.name == _EMBEDDING else tied
        elif group.name.startswith(_ROTARY):
            rotary += _sizes(group)
        elif shape.architecture.norms_embeddings and group.name.startswith(_EMBEDDING_NORM):
            in_layers[0].append(group)
        else:
            output += _sizes(group)
    ties = shape.architecture.ties_output
    if not ties or any(group.name == "output.weight" and group.layers is None for group in model.groups):
        tied = Sizes()
    layers = (*_layers(in_layers[: len(shape.main_layers)]), *(_NOTHING,) * shape.predicting)
    return Weights(
        layers=layers,
        experts=Sums.of(layer.experts for layer in layers),
        others=Sums.of(layer.others for layer in layers),
        largest=tuple(accumulate((max(layer.largest, layer.ungated) for layer in layers), max, initial=0)),
        largest_expert=tuple(accumulate((layer.largest_expert for layer in layers), max, initial=0)),
        rotating=rotary_layers(shape),
        embedding=embedding,
        output=output + tied,
        rotary=rotary,
        tied=tied.host,
    )


def _layers(groups: list[list[TensorGroup]]) -> Iterator[LayerWeights]:
    """Most layers of a model are alike, and summed up once."""
    known: dict[tuple[int, ...], LayerWeights] = {}
    for each in groups:
        key = tuple(map(id, each))
        if key not in known:
            known[key] = _layer_weights(each)
        yield known[key]


def rotary_layers(shape: Shape) -> tuple[bool, ...]:
    """Layers that hold rotary factors: all, but gemma4's with a window do without (src/models/gemma4.cpp)."""
    spares = shape.architecture.name == "gemma4"
    return tuple(not (spares and layer.is_windowed) for layer in shape.layers)


def _sizes(group: TensorGroup) -> Sizes:
    """Of one of them."""
    size = group.one.bytes
    return Sizes(cuda_bytes(group.type, group.shape[0], size), padded(size, HOST_ALIGNMENT))


_NOTHING = LayerWeights(Sizes(), Sizes(), 0, 0, 0)


def _layer_weights(groups: list[TensorGroup]) -> LayerWeights:
    experts, others = Sizes(), Sizes()
    largest = largest_expert = matrices = 0
    gated = False
    for group in groups:
        sizes, kind = _sizes(group), _kind_of(group.name)
        largest = max(largest, sizes.host)
        if kind is _Kind.EXPERT:
            experts += sizes
            largest_expert = max(largest_expert, sizes.host)
            continue
        others += sizes
        gated = gated or kind is _Kind.GATE
        if kind is _Kind.FORWARD and len(group.shape) > 1:
            matrices += sizes.host
    ungated = 0 if gated or largest_expert else matrices
    return LayerWeights(experts, others, largest, largest_expert, ungated)


class _Kind(Enum):
    """What decides a tensor's place within its layer."""

    EXPERT = auto()
    GATE = auto()
    FORWARD = auto()
    OTHER = auto()


@lru_cache(maxsize=65536)
def _kind_of(name: str) -> _Kind:
    if _EXPERT.search(name):
        return _Kind.EXPERT
    if name.endswith("ffn_gate.weight"):
        return _Kind.GATE
    return _Kind.FORWARD if ".ffn_" in name else _Kind.OTHER
