"""Bytes of parameters on one rank, as vLLM lays them out before any repacking.

Which dimension is split follows the module (vllm/model_executor/layers/linear.py, vocab_parallel_embedding.py and
fused_moe of 0.33.0), how a parameter is stored follows its packing (compiler/memory/layouts.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from compiler.memory.architecture import (
    Architecture,
    Experts,
    HeadCache,
    LatentCache,
    Linear,
    Module,
    Split,
    Table,
    Vector,
)
from compiler.memory.layouts import SERVED_BYTES, Parameter, expert_parameters, linear_parameters
from compiler.memory.packing import Packing, Quantization
from compiler.memory.parallelism import Parallelism, SplitError, padded_rows

WHOLE = Parallelism()


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
    total = 0
    for path, module in rank_modules(architecture, parallelism):
        total += _bytes(module, packing_of(module, path, quantization), parallelism, served_dtype)
    return total + _attention_scales(architecture, quantization, parallelism, served_dtype)


def rank_modules(architecture: Architecture, parallelism: Parallelism) -> Iterator[tuple[str, Module]]:
    """Every module of a rank with its full name."""
    stage = architecture.last if parallelism.is_last else ()
    if parallelism.is_first or (architecture.tie_word_embeddings and parallelism.is_last):
        stage = (*architecture.first, *stage)
    for module in (*stage, *architecture.everywhere):
        yield module.name, module
    for index in parallelism.layers(architecture.num_layers):
        for module in architecture.layers[index].modules:
            yield f"{architecture.layer_prefix}.{index}.{module.name}", module


def packing_of(module: Module, path: str, quantization: Quantization | None) -> Packing | None:
    """How a module is stored; None if unquantized."""
    if quantization is None or isinstance(module, Vector):
        return None
    if isinstance(module, Table):
        return quantization.table if module.quantized else None
    packing = quantization.experts if isinstance(module, Experts) else quantization.linear
    if isinstance(module, Experts) and module.packing is not None and quantization.method == "fp8":
        packing = module.packing
    if packing is None or (isinstance(module, Linear) and not module.quantized) or quantization.skips.covers(path):
        return None
    return packing


@lru_cache(maxsize=65536)
def _bytes(module: Module, packing: Packing | None, parallelism: Parallelism, served_dtype: str) -> int:
    return sum(parameter.loaded_bytes(served_dtype) for parameter in module_parameters(module, packing, parallelism))


def module_parameters(module: Module, packing: Packing | None, parallelism: Parallelism) -> tuple[Parameter, ...]:
    """Every tensor of a module on one rank."""
    if isinstance(module, Linear):
        return _linear(module, packing, parallelism)
    if isinstance(module, Experts):
        return _experts(module, packing, parallelism)
    if isinstance(module, Table):
        rows = parallelism.share(padded_rows(module.rows), Split.OUTPUTS)
        bias = (Parameter("bias", (rows,)),) if module.bias else ()
        return (*linear_parameters(rows, module.columns, packing), *bias)
    size = parallelism.share(module.size, module.split, module.heads)
    return (Parameter("", (size,), module.dtype, stored=module.stored),)


def _linear(module: Linear, packing: Packing | None, parallelism: Parallelism) -> tuple[Parameter, ...]:
    inputs = parallelism.share(module.inputs, Split.INPUTS) if module.split is Split.INPUTS else module.inputs
    split = Split.REPLICATED if module.split is Split.INPUTS else module.split
    outputs = parallelism.share(module.outputs, split, module.heads)
    if packing is None and module.dtype is not None:
        weights: tuple[Parameter, ...] = (Parameter("weight", (outputs, inputs), module.dtype),)
    else:
        weights = linear_parameters(outputs, inputs, packing)
    if packing is not None and packing.style == "fp8" and module.scale_dtype is not None:
        weights = tuple(_scaled_as(parameter, module.scale_dtype) for parameter in weights)
    return (*weights, Parameter("bias", (outputs,))) if module.bias else weights


def _scaled_as(parameter: Parameter, dtype: str) -> Parameter:
    return replace(parameter, dtype=dtype) if "scale" in parameter.suffix else parameter


def _experts(module: Experts, packing: Packing | None, parallelism: Parallelism) -> tuple[Parameter, ...]:
    count, intermediate = parallelism.local_experts(module.count), module.intermediate
    if not parallelism.expert_parallel:
        if intermediate % parallelism.expert_ranks:
            raise SplitError(f"experts of width {intermediate} do not divide by {parallelism.expert_ranks}")
        intermediate //= parallelism.expert_ranks
    weights = expert_parameters(count, module.inputs, intermediate, gated=module.gated, packing=packing)
    if not module.bias:
        return weights
    up = intermediate * (2 if module.gated else 1)
    return (*weights, Parameter("w13_bias", (count, up)), Parameter("w2_bias", (count, module.inputs)))


def _attention_scales(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism, served_dtype: str
) -> int:
    """Of latent attention only ModelOpt's method takes hold: modelopt.py:get_quant_method of 0.33.0."""
    if quantization is None:
        return 0
    scaled = (HeadCache, LatentCache) if quantization.method.startswith("modelopt") else (HeadCache,)
    layers = (architecture.layers[index] for index in parallelism.layers(architecture.num_layers))
    attended = sum(any(isinstance(cache, scaled) for cache in layer.caches) for layer in layers)
    return attended * quantization.attention_scales * SERVED_BYTES[served_dtype]


def check_split(architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism) -> None:
    """Refuse a layout that vLLM refuses.

    Raises:
        SplitError: with the numbers that do not divide.
    """
    ranks = parallelism.tensor_parallel_size
    heads, kv_heads = architecture.num_attention_heads, architecture.num_kv_heads
    if heads % ranks:
        raise SplitError(f"{heads} attention heads do not divide by {ranks}")
    if kv_heads % ranks and ranks % kv_heads:
        raise SplitError(f"{kv_heads} KV heads and {ranks} ranks do not divide each other")
    if padded_rows(architecture.vocab_size) % ranks:
        raise SplitError(
            f"the vocabulary, padded to {padded_rows(architecture.vocab_size)}, does not divide by {ranks}"
        )
    modules = tuple(rank_modules(architecture, parallelism))
    tails = _tails(modules)
    for path, module in _distinct(modules):
        _check_module(module, packing_of(module, path, quantization), parallelism, tail=module in tails)


def _tails(modules: Iterable[tuple[str, Module]]) -> set[Module]:
    """Projections that stand alone or last in what the engine fuses: only they may end within an FP8 block."""
    last: dict[str, Module] = {}
    for path, module in modules:
        if isinstance(module, Linear):
            last[path.removesuffix(module.name) + (module.fused or module.name)] = module
    return set(last.values())


def _distinct(modules: Iterable[tuple[str, Module]]) -> Iterator[tuple[str, Module]]:
    seen: set[Module] = set()
    for path, module in modules:
        if module not in seen:
            seen.add(module)
            yield path, module


def _check_module(module: Module, packing: Packing | None, parallelism: Parallelism, *, tail: bool) -> None:
    if not isinstance(module, Linear):
        module_parameters(module, packing, parallelism)
        return
    name, parts = module.name.rpartition(".")[2], parallelism.parts(module.split, module.heads)
    if module.split is Split.INPUTS:
        unit = _input_unit(packing)
        if module.inputs % (parts * unit):
            raise SplitError(f"{name} has {module.inputs} inputs, no multiple of {parts} ranks × group {unit}")
    elif module.outputs % (parts * (unit := _output_unit(packing, may_end_within=tail and parts == 1))):
        raise SplitError(f"{name} has {module.outputs} outputs, no multiple of {parts} ranks × {unit}")


def _output_unit(packing: Packing | None, *, may_end_within: bool) -> int:
    """For FP8 blocks see fp8_utils.py:validate_fp8_block_shape."""
    if packing is None:
        return 1
    if packing.block is not None:
        return 1 if may_end_within else packing.block[0]
    return 32 // packing.bits if packing.style in ("awq", "gptq") else 1


def _input_unit(packing: Packing | None) -> int:
    if packing is None:
        return 1
    if packing.block is not None:
        return packing.block[1]
    return packing.group_size or 1
