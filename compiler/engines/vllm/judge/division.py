"""Ways to divide a model over ranks and stages that vLLM 0.33.0 refuses, with the numbers that do not divide."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from compiler.checkpoints.architecture import Architecture, Experts, HeadCache, Layer, Linear, Table
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.parameters.modules import packed_outside, rank_modules
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError, padded_rows
from compiler.checkpoints.parameters.weights import module_parameters
from compiler.checkpoints.quantization.formats import Quantization
from compiler.engines.vllm.kv_cache.states import check_states

_WHOLE = Parallelism()
_HEAD_DTYPES = {"half": "float16", "float": "float32"}


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


@lru_cache(maxsize=4096)
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
