"""What torch's caching allocator adds to the bytes of parameters.

Tensors of 10 MiB and more get a segment of their own, a multiple of 2 MiB; what is left of it is split off only if it
is more than 1 MiB, and counts as allocated otherwise (get_allocation_size and should_split in
c10/cuda/CUDACachingAllocator.cpp).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from compiler.memory.architecture import Architecture, Linear, Module
from compiler.memory.packing import Packing, Quantization
from compiler.memory.parallelism import Parallelism
from compiler.memory.weights import module_parameters, packing_of
from compiler.units import MIB, ByteRange

_OWN_SEGMENT = 10 * MIB
_SEGMENT_UNIT = 2 * MIB
_SMALLEST_SPLIT = MIB


def weights_rounding(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism, *, served_dtype: str
) -> ByteRange:
    """Bytes beyond the parameters' own: those that count as allocated, at most the rest of every segment.

    Repacking after loading makes other tensors of quantized weights, so that there it is known only at most.
    """
    counted = reserved = 0
    for sizes, count in _blocks(architecture, quantization, parallelism, served_dtype):
        for size in sizes:
            rest = -size % _SEGMENT_UNIT if size >= _OWN_SEGMENT else 0
            counted += count * rest if rest <= _SMALLEST_SPLIT else 0
            reserved += count * rest
    return ByteRange(0 if quantization is not None else counted, counted, reserved)


def _blocks(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism, served_dtype: str
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Sizes of the tensors of each kind of layer, and how many layers of that kind the rank has."""
    ends = (
        *(architecture.first if parallelism.is_first or architecture.tie_word_embeddings else ()),
        *(architecture.last if parallelism.is_last else ()),
        *architecture.everywhere,
    )
    packed = ((module, packing_of(module, module.name, quantization)) for module in ends)
    yield _tensors(packed, parallelism, served_dtype), 1
    kinds: Counter[tuple[int, tuple[Packing | None, ...]]] = Counter()
    for index in parallelism.layers(architecture.num_layers):
        layer = architecture.layers[index]
        path = f"{architecture.layer_prefix}.{index}"
        packings = tuple(packing_of(module, f"{path}.{module.name}", quantization) for module in layer.modules)
        kinds[id(layer), packings] += 1
    layers = {id(layer): layer for layer in architecture.layers}
    for (key, packings), count in kinds.items():
        pairs = zip(layers[key].modules, packings, strict=True)
        yield _tensors(pairs, parallelism, served_dtype), count


def _tensors(
    modules: Iterable[tuple[Module, Packing | None]], parallelism: Parallelism, served_dtype: str
) -> tuple[int, ...]:
    """Sizes as the engine allocates them: projections that it fuses are one tensor."""
    sizes: Counter[tuple[str, str]] = Counter()
    for module, packing in modules:
        name = module.fused or module.name if isinstance(module, Linear) else module.name
        for parameter in module_parameters(module, packing, parallelism):
            sizes[name, parameter.suffix] += parameter.loaded_bytes(served_dtype)
    return tuple(sizes.values())
