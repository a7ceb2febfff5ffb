"""Bytes of parameters on one rank, as vLLM lays them out before any repacking.

Which dimension is split follows the module (vllm/model_executor/layers/linear.py, vocab_parallel_embedding.py and
fused_moe of 0.33.0), how a parameter is stored follows its packing (compiler/checkpoints/parameters/linear.py).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from compiler.checkpoints.architecture import (
    Architecture,
    Experts,
    HeadCache,
    LatentCache,
    Layer,
    Linear,
    Split,
    Table,
)
from compiler.checkpoints.parameters.experts import ExpertShape, expert_parameters
from compiler.checkpoints.parameters.linear import SERVED_BYTES, Parameter, Projections, linear_parameters
from compiler.checkpoints.parameters.modules import Fused, Packed, rank_layers, rank_modules
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError, padded_rows
from compiler.checkpoints.quantization.formats import Packing, Quantization

_FLOAT_BYTES = 4
_WHOLE = Parallelism()


@lru_cache(maxsize=4096)
def rank_weights(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism, *, served_dtype: str
) -> int:
    """Bytes of all parameters on one rank.

    Args:
        parallelism: must be legal; see compiler/engines/vllm/judge/division.py.
        served_dtype: what unquantized tensors are loaded as.

    Raises:
        SplitError: a dimension does not divide.
    """
    rank = replace(parallelism, stage=0)
    modules = rank_modules(architecture, quantization, parallelism)
    total = sum(_bytes(packed, rank, served_dtype) * count for packed, count in modules)
    return total + _attention_scales(architecture, quantization, parallelism, served_dtype)


@lru_cache(maxsize=65536)
def _bytes(packed: Packed, parallelism: Parallelism, served_dtype: str) -> int:
    parameters = module_parameters(packed.fused, packed.packing, parallelism)
    return sum(parameter.loaded_bytes(served_dtype) for parameter in parameters)


@lru_cache(maxsize=65536)
def module_parameters(fused: Fused, packing: Packing | None, parallelism: Parallelism) -> tuple[Parameter, ...]:
    """Every tensor of a module on one rank.

    Raises:
        SplitError: a dimension does not divide.
    """
    first = fused.modules[0]
    if isinstance(first, Linear):
        linears = tuple(module for module in fused.modules if isinstance(module, Linear))
        return _linear(fused.name, linears, packing, parallelism)
    if isinstance(first, Experts):
        return expert_parameters(expert_shape(first, parallelism), packing)
    if isinstance(first, Table):
        return _table(first, packing, parallelism)
    size = parallelism.share(first.size, first.split, first.heads)
    return (Parameter("", (size,), first.dtype, stored=first.stored),)


def _table(module: Table, packing: Packing | None, parallelism: Parallelism) -> tuple[Parameter, ...]:
    rows, ranks = parallelism.share(padded_rows(module.rows), Split.OUTPUTS), parallelism.tensor_parallel_size
    bias = (Parameter("bias", (rows,)),) if module.bias else ()
    return (*linear_parameters(Projections(module.name, (rows,), module.columns, ranks), packing), *bias)


def _linear(
    name: str, linears: tuple[Linear, ...], packing: Packing | None, parallelism: Parallelism
) -> tuple[Parameter, ...]:
    projections = projections_of(name, linears, parallelism)
    first = linears[0]
    if packing is None and first.dtype is not None:
        weights: tuple[Parameter, ...] = (Parameter("weight", (projections.rows, projections.inputs), first.dtype),)
    else:
        weights = linear_parameters(projections, packing)
    biased = sum(
        outputs for linear, outputs in zip(linears, _outputs(linears, parallelism), strict=True) if linear.bias
    )
    return (*weights, Parameter("bias", (biased,))) if biased else weights


def projections_of(name: str, linears: tuple[Linear, ...], parallelism: Parallelism) -> Projections:
    """Of a rank: outputs one by one, of those too that the checkpoint stores as one tensor.

    Raises:
        SplitError: a dimension does not divide.
    """
    first, ranks = linears[0], parallelism.tensor_parallel_size
    split = _split(first, parallelism)
    input_ranks = ranks if split is Split.INPUTS else 1
    if first.inputs % input_ranks:
        raise SplitError(f"{name} has {first.inputs} inputs, no multiple of {ranks} ranks")
    outputs: list[int] = []
    for linear, size in zip(linears, _outputs(linears, parallelism), strict=True):
        each = size // linear.parts
        outputs += [each] * (linear.parts - 1) + [size - each * (linear.parts - 1)]
    output_ranks = ranks if split in (Split.OUTPUTS, Split.KV_HEADS) else 1
    return Projections(name.rpartition(".")[2], tuple(outputs), first.inputs // input_ranks, output_ranks, input_ranks)


def _outputs(linears: tuple[Linear, ...], parallelism: Parallelism) -> tuple[int, ...]:
    return tuple(_share(linear, parallelism) for linear in linears)


def _split(linear: Linear, parallelism: Parallelism) -> Split:
    whole = linear.whole_unless is not None and linear.whole_unless % parallelism.tensor_parallel_size
    return Split.REPLICATED if whole else linear.split


def _share(linear: Linear, parallelism: Parallelism) -> int:
    split = _split(linear, parallelism)
    if split is Split.INPUTS:
        return linear.outputs
    parts = parallelism.parts(split, linear.heads)
    if linear.groups is not None and linear.groups % parts:
        name = linear.name.rpartition(".")[2]
        raise SplitError(f"{name} has {linear.groups} groups of outputs, no multiple of {parts} ranks")
    if linear.outputs % parts:
        name = linear.name.rpartition(".")[2]
        raise SplitError(f"{name} has {linear.outputs} outputs, no multiple of {parts} ranks")
    outputs = linear.outputs // parts
    return outputs + -outputs % linear.alignment


def expert_shape(module: Experts, parallelism: Parallelism) -> ExpertShape:
    """Without expert parallelism each expert is cut over all ranks, those of data parallelism included."""
    if module.needs_rank_each and parallelism.tensor_parallel_size > module.count:
        raise SplitError(f"{module.count} experts are fewer than {parallelism.tensor_parallel_size} ranks")
    ranks = 1 if parallelism.expert_parallel else parallelism.expert_ranks
    if module.intermediate % ranks:
        raise SplitError(f"experts of width {module.intermediate} do not divide by {ranks}")
    if module.over_world and module.intermediate % (world := ranks * parallelism.pipeline_parallel_size):
        raise SplitError(f"experts of width {module.intermediate} do not divide by {world}, all ranks of all stages")
    count, width = parallelism.local_experts(module.count), module.intermediate // ranks
    if ranks > 1:
        width = max(width, module.least_width)
    return ExpertShape(count, module.inputs, width, 2 if module.gated else 1, module.bias, ranks)


def _attention_scales(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism, served_dtype: str
) -> int:
    if quantization is None:
        return 0
    served = SERVED_BYTES[served_dtype]
    return sum(
        _layer_scales(packed.layer, quantization, parallelism, served) * count
        for packed, count in rank_layers(architecture, quantization, parallelism)
    )


def _layer_scales(layer: Layer, quantization: Quantization, parallelism: Parallelism, served: int) -> int:
    scales, total = quantization.scales, 0
    for cache in layer.caches:
        if (isinstance(cache, HeadCache) and cache.scaled) or (scales.latent and isinstance(cache, LatentCache)):
            heads = cache.kv_heads if isinstance(cache, HeadCache) and scales.per_head else 1
            each = max(1, heads // parallelism.tensor_parallel_size)
            total += each * (scales.served * served + scales.floats * _FLOAT_BYTES)
    return total
