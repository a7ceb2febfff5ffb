"""Recurrent states on one rank: their bytes, how many of them a request holds, and the blocks of hybrid models.

vllm/model_executor/layers/mamba/mamba_utils.py, v1/kv_cache_interface.py:MambaSpec and
platforms/interface.py:_align_hybrid_block_size of 0.33.0. With prefix caching, states are kept at block boundaries
(`mamba_cache_mode: align`); without it only the newest is, in one block for the whole request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.checkpoints.architecture import Architecture, HeadCache, LatentCache, Split
from compiler.checkpoints.config import UnsupportedArchitectureError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.state_cache import STATE_BYTES, StateCache, StatePart
from compiler.engines.vllm.kv_cache.blocks import CacheKind, CacheSpec

# The state in use and the one at the last block boundary.
_ALIGNED_STATES = 2
_LATENT_ALIGNMENT = 128


@dataclass(frozen=True, slots=True)
class StateRules:
    """How the states of a model are kept on one rank.

    Attributes:
        served_dtype: of the model.
        major: compute capability of the GPU; None on a CPU.
        block_size: tokens of a block of attention.
        page_bytes: of an attention layer's block, which states are padded to; None in models without attention.
        interval: tokens between the states that are kept; None where only the newest is.
        longest: request, in tokens.
    """

    served_dtype: str
    major: int | None
    block_size: int
    page_bytes: int | None = None
    interval: int | None = None
    longest: int = 0

    def spec(self, cache: StateCache, parallelism: Parallelism) -> CacheSpec:
        """The cache of one layer."""
        size = state_bytes(cache, parallelism, self.served_dtype)
        page, content = self.page_bytes or size, (cache.kind, size)
        if self.interval is None:
            return CacheSpec(CacheKind.STATE, self.longest, page, content, states=1, replicated=cache.replicated)
        states = _ALIGNED_STATES + checkpoints(cache, self.served_dtype, self.major)
        return CacheSpec(CacheKind.STATE, self.interval, page, content, states=states, replicated=cache.replicated)


def state_bytes(cache: StateCache, parallelism: Parallelism, served_dtype: str) -> int:
    """Bytes of one state on one rank.

    Raises:
        SplitError: heads or groups do not divide.
    """
    return sum(_part_bytes(part, parallelism, served_dtype) for part in cache.parts)


def _part_bytes(part: StatePart, parallelism: Parallelism, served_dtype: str) -> int:
    ranks = parallelism.tensor_parallel_size
    if part.groups % ranks and part.groups > 1:
        raise SplitError(f"{part.groups} groups of a state do not divide by {ranks}")
    row = parallelism.share(part.divided, Split.OUTPUTS)
    row += parallelism.share(part.grouped, Split.KV_HEADS, part.groups)
    return part.rows * row * STATE_BYTES[part.dtype or served_dtype]


def checkpoints(cache: StateCache, served_dtype: str, major: int | None) -> int:
    """States that a request holds besides, because a prefill exports one from its midst: none or one."""
    if cache.checkpoints_on is None:
        return 1
    return (
        int(major in cache.checkpoints_on and served_dtype == "bfloat16")
        if cache.kind == "kda"
        else int(major in cache.checkpoints_on)
    )


def check_states(architecture: Architecture, parallelism: Parallelism) -> None:
    """Refuse ranks that the states of a model cannot be divided over.

    Raises:
        SplitError: with the numbers that do not divide.
    """
    for cache in set(_states(architecture)):
        state_bytes(cache, parallelism, architecture.checkpoint_dtype)


def state_rules(
    architecture: Architecture,
    parallelism: Parallelism,
    *,
    block_size: int,
    element_bytes: int,
    served_dtype: str,
    major: int | None,
    prefix_caching: bool | None = None,
) -> StateRules:
    """The rules for a model; where it has no states, its blocks stay as the attention backend wants them.

    Args:
        block_size: that the attention backend wants without states.
        element_bytes: of the attention cache.
        major: compute capability of the GPU; None on a CPU.
        prefix_caching: None for vLLM's choice (vllm/config/model.py:is_prefix_caching_supported).
    """
    states = tuple(dict.fromkeys(_states(architecture)))
    if not states:
        return StateRules(served_dtype, major, block_size)
    token_bytes, longest = _token_bytes(architecture, parallelism, element_bytes), architecture.max_model_len
    if token_bytes is None:
        interval = block_size if prefix_caching else None
        return StateRules(served_dtype, major, block_size, None, interval, longest)
    kept = prefix_caching is not False
    alignment = _kernel_alignment(architecture, block_size)
    if kept:
        alignment = math.lcm(alignment, _checkpoint_alignment(states, served_dtype, major))
    largest = max(state_bytes(state, parallelism, served_dtype) for state in states)
    blocks = hybrid_block_size(block_size, token_bytes=token_bytes, state_bytes=largest, alignment=alignment)
    return StateRules(served_dtype, major, blocks, blocks * token_bytes, blocks if kept else None, longest)


def hybrid_block_size(block_size: int, *, token_bytes: int, state_bytes: int, alignment: int) -> int:
    """Tokens of a block, so that a layer's attention takes at least what a state takes."""
    return max(block_size, alignment * -(-state_bytes // (alignment * token_bytes)))


def _kernel_alignment(architecture: Architecture, block_size: int) -> int:
    latent = any(isinstance(cache, LatentCache) for layer in architecture.kinds for cache in layer.caches)
    return max(block_size, _LATENT_ALIGNMENT) if latent else block_size


def _checkpoint_alignment(states: tuple[StateCache, ...], served_dtype: str, major: int | None) -> int:
    if not all(checkpoints(state, served_dtype, major) for state in states):
        return 1
    return math.lcm(*(state.alignment for state in states))


def _token_bytes(architecture: Architecture, parallelism: Parallelism, element_bytes: int) -> int | None:
    """Bytes of one token in one attention layer; None without attention."""
    widths: set[int] = set()
    for layer in architecture.kinds:
        for cache in layer.caches:
            if isinstance(cache, HeadCache):
                heads = max(1, cache.kv_heads // parallelism.tensor_parallel_size)
                widths.add(heads * (cache.head_dim + cache.value_dim))
            elif isinstance(cache, LatentCache):
                widths.add(cache.width)
    if len(widths) > 1:
        raise UnsupportedArchitectureError(f"{architecture.name} with states beside attention layers that differ")
    return widths.pop() * element_bytes if widths else None


def _states(architecture: Architecture) -> Iterator[StateCache]:
    for layer in architecture.kinds:
        for cache in layer.caches:
            if isinstance(cache, StateCache):
                yield cache
