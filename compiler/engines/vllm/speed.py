"""What of a vLLM server decides its speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from compiler.checkpoints.architecture import (
    Architecture,
    Cache,
    Experts,
    HeadCache,
    IndexerCache,
    LatentCache,
    Layer,
    Linear,
    Table,
)
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.modules import Packed, packed_outside, rank_layers
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import module_parameters
from compiler.checkpoints.quantization.formats import Packing, Quantization
from compiler.checkpoints.state_cache import StateCache
from compiler.engines.vllm.demand import Demand
from compiler.engines.vllm.judge.variant import Variant
from compiler.engines.vllm.kv_cache.layout import ELEMENT_BYTES
from compiler.speed import shape as speed
from compiler.speed.shape import Arithmetic, KvGroup, Part, Replica, Shape

_WHOLE = Parallelism()
# First parts of the names of projections that mix tokens; a mixer may hold a feed-forward layer as well.
_ATTENTION = frozenset({"self_attn", "attn", "attention", "linear_attn", "self_attention", "mamba", "conv"})
_MIXER = frozenset({"in_proj", "out_proj", "q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"})
_FP8 = frozenset({"fp8", "ct-fp8", "modelopt-fp8-block", "mxfp8"})
_FP4 = frozenset({"nvfp4", "ct-nvfp4"})
_MXFP4 = frozenset({"mxfp4", "ct-mxfp4"})
_NIBBLE, _BYTE = 4, 8


def replica_of(demand: Demand) -> Replica | None:
    """The model as its ranks run it; None on a CPU, in stages, beside drafts, and of what is not known."""
    assert isinstance(demand.variant, Variant)  # noqa: S101  demands of this engine are made of its variants
    checkpoint, server = demand.variant.checkpoint, demand.shape
    if server.compute_capability is None or demand.division.pipeline > 1:
        return None
    if checkpoint.architecture.pooling or checkpoint.architecture.assumed or demand.variant.drafter is not None:
        return None
    shape = _checkpoint_shape(checkpoint, server.served_dtype)
    kept = ELEMENT_BYTES.get(demand.layout.dtype, SERVED_BYTES[server.served_dtype])
    adapted = server.adapters is not None
    return Replica(replace(shape, kv_bytes=kept, eager=server.enforce_eager, lora=adapted), demand.division.tensor)


@lru_cache(maxsize=1024)
def _checkpoint_shape(checkpoint: Checkpoint, served_dtype: str) -> Shape:
    architecture, quantization = checkpoint.architecture, checkpoint.quantization
    modules = list(_modules(architecture, quantization))
    attention = [each for each in modules if _mixes(each[0])]
    dense = [each for each in modules if not _mixes(each[0]) and not isinstance(each[0].fused.modules[0], Experts)]
    caches = [cache for layer in architecture.layers for cache in layer.caches]
    packing = _main_packing(quantization)
    return Shape(
        layers=architecture.num_layers,
        hidden=architecture.hidden_size,
        attention=_part(attention, served_dtype),
        dense=_part(dense, served_dtype),
        head=_part(_head(architecture, quantization), served_dtype),
        experts=_experts(modules, served_dtype),
        kv=tuple(_kv_groups(architecture)),
        kv_heads=architecture.num_kv_heads if any(isinstance(cache, HeadCache) for cache in caches) else 1,
        kv_bytes=SERVED_BYTES[served_dtype],
        all_reduces=sum(_all_reduces(layer) for layer in architecture.layers),
        arithmetic=_arithmetic(quantization),
        state_elements=sum(_state_elements(cache) for cache in caches),
        linear_attention=any(isinstance(cache, StateCache) for cache in caches),
        block_scales=packing is not None and packing.block is not None,
        unlike=_unlike(caches, packing),
    )


_Counted = tuple[Packed, int]


def _modules(architecture: Architecture, quantization: Quantization | None) -> Iterator[_Counted]:
    """Of the decoder's layers, each with how many there are of it."""
    for layer, count in rank_layers(architecture, quantization, _WHOLE):
        for packed in layer.modules:
            if isinstance(packed.fused.modules[0], Linear | Experts):
                yield packed, count


def _mixes(packed: Packed) -> bool:
    """Whether a projection is of attention, or of what stands in for it."""
    return _name_mixes(packed.fused.modules[0].name)


def _name_mixes(name: str) -> bool:
    first, _, rest = name.partition(".")
    return first in _ATTENTION or (first == "mixer" and rest in _MIXER)


def _head(architecture: Architecture, quantization: Quantization | None) -> list[_Counted]:
    """The output head: the last table of the vocabulary, which is the first one too where they are tied."""
    outside = packed_outside(architecture, quantization, _WHOLE)
    tables = [packed for packed in outside if isinstance(packed.fused.modules[0], Table)]
    return [(tables[-1], 1)] if tables else []


def _part(modules: list[_Counted], served_dtype: str) -> Part:
    parameters = sum(_parameters(packed) * count for packed, count in modules)
    size = sum(_bytes(packed, served_dtype) * count for packed, count in modules)
    return Part(parameters, size / parameters if parameters else SERVED_BYTES[served_dtype])


def _parameters(packed: Packed) -> int:
    return sum(_size(module) for module in packed.fused.modules)


def _size(module: object) -> int:
    match module:
        case Linear():
            return module.outputs * module.inputs
        case Table():
            return module.rows * module.columns
        case Experts():
            return module.count * _of_expert(module)
        case _:
            return 0


def _of_expert(module: Experts) -> int:
    return module.inputs * module.intermediate * (3 if module.gated else 2)


def _bytes(packed: Packed, served_dtype: str) -> int:
    """As loaded, with scales."""
    parameters = module_parameters(packed.fused, packed.packing, _WHOLE)
    return sum(parameter.loaded_bytes(served_dtype) for parameter in parameters)


def _experts(modules: list[_Counted], served_dtype: str) -> speed.Experts | None:
    """Those of all layers; where layers differ, as they are on average."""
    found = [(packed, count) for packed, count in modules if isinstance(packed.fused.modules[0], Experts)]
    if not found:
        return None
    kinds = [(module, count) for packed, count in found for module in packed.fused.modules[:1]]
    layers = sum(count for _, count in kinds)
    part = _part(found, served_dtype)
    first = next(module for module, _ in kinds if isinstance(module, Experts))
    return speed.Experts(layers, first.count, first.top_k, part.parameters // (layers * first.count), part.bytes_each)


def _all_reduces(layer: Layer) -> int:
    """One after attention, one after the feed-forward layer."""
    names = [module.name for module in layer.modules if isinstance(module, Linear | Experts)]
    return len({_name_mixes(name) for name in names})


def _kv_groups(architecture: Architecture) -> Iterator[KvGroup]:
    counts: dict[KvGroup, int] = {}
    for layer in architecture.layers:
        for group in (_kv_group(cache, architecture) for cache in layer.caches):
            if group is not None:
                counts[group] = counts.get(group, 0) + 1
    yield from (replace(group, layers=count) for group, count in counts.items())


def _kv_group(cache: Cache, architecture: Architecture) -> KvGroup | None:
    """Of one layer. What an indexer keeps beside it is small, and was not counted where the constants were fitted."""
    heads = architecture.num_attention_heads
    match cache:
        case HeadCache():
            window = cache.window or cache.chunk
            return KvGroup(1, cache.kv_heads * (cache.head_dim + cache.value_dim), window, heads * cache.head_dim)
        case LatentCache():
            return KvGroup(1, cache.width, None, heads * cache.width)
        case _:
            return None


def _state_elements(cache: Cache) -> int:
    return (
        sum(part.rows * (part.divided + part.grouped) for part in cache.parts) if isinstance(cache, StateCache) else 0
    )


def _unlike(caches: list[Cache], packing: Packing | None) -> str | None:
    if not all(isinstance(cache, HeadCache | LatentCache | StateCache | IndexerCache) for cache in caches):
        return "attention that compresses its cache: measurements differ from estimates by 40 % in the middle"
    if packing is not None and packing.bits not in (_NIBBLE, _BYTE):
        return f"weights of {packing.bits} bits: no measurement"
    return None


def _main_packing(quantization: Quantization | None) -> Packing | None:
    return None if quantization is None else quantization.linear or quantization.experts


def _arithmetic(quantization: Quantization | None) -> Arithmetic:
    if quantization is None:
        return Arithmetic.BF16
    linear, experts = quantization.linear, quantization.experts
    if linear is not None and experts is not None and experts.style in _FP4 and linear.style in _FP8:
        return Arithmetic.FP4_EXPERTS
    packing = experts or linear
    return Arithmetic.BF16 if packing is None else _of_packing(packing)


def _of_packing(packing: Packing) -> Arithmetic:
    if packing.style in _FP4:
        return Arithmetic.FP4
    if packing.style in _MXFP4:
        return Arithmetic.MXFP4
    if packing.style in _FP8:
        return Arithmetic.FP8
    if packing.style == "int8":
        return Arithmetic.INT8
    return Arithmetic.W4 if packing.bits < _BYTE else Arithmetic.W8
