"""Bytes of parameters on one rank, as vLLM lays them out before any repacking.

Which dimension is split follows the module (vllm/model_executor/layers/linear.py, vocab_parallel_embedding.py and
fused_moe of 0.33.0), how a parameter is stored follows its packing (compiler/memory/layouts.py).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from compiler.memory.architecture import (
    Architecture,
    Experts,
    HeadCache,
    LatentCache,
    Layer,
    Linear,
    Split,
    Table,
)
from compiler.memory.config import Config, ConfigError
from compiler.memory.expert_layouts import ExpertShape, expert_parameters
from compiler.memory.layouts import SERVED_BYTES, Parameter, Projections, linear_parameters
from compiler.memory.packed import Fused, Packed, packed_outside, rank_layers, rank_modules
from compiler.memory.parallelism import Parallelism, SplitError, padded_rows
from compiler.memory.quantized import Packing, Quantization
from compiler.memory.states import check_states

_FLOAT_BYTES = 4
_WHOLE = Parallelism()
_HEAD_DTYPES = {"half": "float16", "float": "float32"}


def rank_weights(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism, *, served_dtype: str
) -> int:
    """Bytes of all parameters on one rank.

    Args:
        parallelism: must be legal; see `check_split`.
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
    projections = _projections(name, linears, parallelism)
    first = linears[0]
    if packing is None and first.dtype is not None:
        weights: tuple[Parameter, ...] = (Parameter("weight", (projections.rows, projections.inputs), first.dtype),)
    else:
        weights = linear_parameters(projections, packing)
    biased = sum(
        outputs for linear, outputs in zip(linears, _outputs(linears, parallelism), strict=True) if linear.bias
    )
    return (*weights, Parameter("bias", (biased,))) if biased else weights


def _projections(name: str, linears: tuple[Linear, ...], parallelism: Parallelism) -> Projections:
    """Of a rank: outputs one by one, of those too that the checkpoint stores as one tensor."""
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


def check_layout(architecture: Architecture, quantization: Quantization | None) -> None:
    """Refuse a packing that fits a module on no number of ranks.

    Raises:
        SplitError: with the numbers that do not divide.
    """
    for packed, _ in rank_modules(architecture, quantization, _WHOLE):
        module_parameters(packed.fused, packed.packing, _WHOLE)


def check_head(architecture: Architecture, quantization: Quantization | None, config: Config) -> None:
    """Refuse a quantized output head that is to compute in another dtype (layers/logits_processor.py:_apply_head).

    Args:
        config: the file.

    Raises:
        ConfigError: with the dtype.
    """
    asked = config.text("head_dtype", default="model").lower()
    if _HEAD_DTYPES.get(asked, asked) in ("model", architecture.checkpoint_dtype) or architecture.pooling:
        return
    for packed in packed_outside(architecture, quantization, _WHOLE):
        if packed.packing is not None and any(isinstance(module, Table) for module in packed.fused.modules):
            raise ConfigError(
                f"`head_dtype` is {asked[:40]}, and vLLM computes a quantized output head in no other dtype"
            )


def check_split(architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism) -> None:
    """Refuse a layout that vLLM refuses.

    Raises:
        SplitError: with the numbers that do not divide.
    """
    ranks = parallelism.tensor_parallel_size
    if architecture.assumed and ranks * parallelism.pipeline_parallel_size > 1:
        raise SplitError(f"how vLLM splits {architecture.name} is not known, so it is counted on one GPU only")
    heads, kv_heads = architecture.num_attention_heads, architecture.num_kv_heads
    if heads % ranks:
        raise SplitError(f"{heads} attention heads do not divide by {ranks}")
    if kv_heads % ranks and ranks % kv_heads:
        raise SplitError(f"{kv_heads} KV heads and {ranks} ranks do not divide each other")
    if ranks > kv_heads and not architecture.copies_kv_heads:
        raise SplitError(f"{kv_heads} KV heads are fewer than {ranks} ranks, and vLLM's class does not copy them")
    if padded_rows(architecture.vocab_size) % ranks:
        raise SplitError(
            f"the vocabulary, padded to {padded_rows(architecture.vocab_size)}, does not divide by {ranks}"
        )
    check_states(architecture, parallelism)
    _check_stages(architecture, parallelism)
    _check_towers(architecture, ranks)
    for layer in architecture.kinds:
        _check_heads(layer, ranks)
    for packed, _ in rank_modules(architecture, quantization, parallelism):
        module_parameters(packed.fused, packed.packing, parallelism)


def _check_heads(layer: Layer, ranks: int) -> None:
    """Kinds of attention may have heads of their own, whose columns may divide where they do not."""
    for cache in layer.caches:
        if not isinstance(cache, HeadCache):
            continue
        if cache.kv_heads % ranks and ranks % cache.kv_heads:
            raise SplitError(f"{cache.kv_heads} KV heads and {ranks} ranks do not divide each other")
        for module in layer.modules:
            if isinstance(module, Linear) and module.name.endswith(".q_proj"):
                heads, rest = divmod(module.outputs, cache.head_dim)
                if heads % ranks and not rest:
                    raise SplitError(f"{heads} attention heads do not divide by {ranks}")


def _check_stages(architecture: Architecture, parallelism: Parallelism) -> None:
    if architecture.needs_experts:
        _check_mixing(architecture, parallelism)
    if parallelism.pipeline_parallel_size == 1:
        return
    if not architecture.pipelined:
        raise SplitError(f"vLLM does not split {architecture.name} over pipeline stages")
    held, least = len(replace(parallelism, stage=0).layers(architecture.num_layers)), architecture.first_stage
    if held < least:
        raise SplitError(f"the first stage has {held} layers, and the tower's features go into the first {least}")
    _check_borrowed(architecture, parallelism)


def _check_mixing(architecture: Architecture, parallelism: Parallelism) -> None:
    """Classes that learn the numbers of experts from a stage's own layers raise where there is none."""
    mixes = {id(layer) for layer in architecture.kinds if any(isinstance(each, Experts) for each in layer.modules)}
    for stage in range(parallelism.pipeline_parallel_size):
        held = replace(parallelism, stage=stage).layers(architecture.num_layers)
        if not any(id(architecture.layers[index]) in mixes for index in held):
            raise SplitError(
                f"no layer from {held.start} to {held.stop - 1} has experts, and vLLM's class asks for one"
            )


def _check_borrowed(architecture: Architecture, parallelism: Parallelism) -> None:
    """Keys and values are read from the last layer that keeps the like of them (attention.py: kv_sharing_target)."""
    for stage in range(parallelism.pipeline_parallel_size):
        kept: set[HeadCache] = set()
        for index in replace(parallelism, stage=stage).layers(architecture.num_layers):
            caches = [cache for cache in architecture.layers[index].caches if isinstance(cache, HeadCache)]
            kept.update(cache for cache in caches if not cache.borrowed)
            if any(cache.borrowed and replace(cache, borrowed=False) not in kept for cache in caches):
                raise SplitError(f"layer {index} reads keys and values of a layer on another pipeline stage")


def _check_towers(architecture: Architecture, ranks: int) -> None:
    for tower in architecture.encoders:
        if tower.heads is not None and tower.heads % ranks:
            raise SplitError(
                f"{tower.heads} attention heads of the {tower.modalities[0]} tower do not divide by {ranks}"
            )
