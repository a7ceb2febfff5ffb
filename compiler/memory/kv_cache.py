"""KV cache by vLLM's page and block arithmetic, for models whose layers share one kind of attention.

vllm/v1/kv_cache_interface.py and vllm/v1/core/kv_cache_planning.py of 0.33.0: pages of all layers form one block, the
pool holds whole blocks, and block 0 is the null block that no request gets.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.memory.architecture import Architecture

_ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8": 1}

NULL_BLOCKS = 1


@dataclass(frozen=True, slots=True)
class KvLayout:
    """The KV cache of one rank.

    Attributes:
        dtype: of the cache: a torch dtype, or `fp8`.
        block_size: tokens of a block.
        bytes_per_block: over all layers of this rank.
        window: tokens that stay cached for one request beyond those in flight; None for full attention.
        max_num_batched_tokens, concurrent_batches: bound the tokens in flight.
    """

    dtype: str
    block_size: int
    bytes_per_block: int
    window: int | None
    in_flight_tokens: int

    def blocks_per_request(self, length: int) -> int:
        """Blocks that one request of `length` tokens holds at most."""
        if self.window is None:
            return -(-length // self.block_size)
        cached = min(self.window - 1 + self.in_flight_tokens, length)
        return -(-cached // self.block_size) + 1

    def blocks_for(self, *, concurrency: int, length: int) -> int:
        """Blocks of a pool in which `concurrency` requests of `length` tokens fit at once."""
        return NULL_BLOCKS + concurrency * self.blocks_per_request(length)

    def max_concurrency(self, num_blocks: int, length: int) -> float:
        """Requests of `length` tokens at once, as vLLM logs it (it counts the null block in)."""
        return num_blocks / self.blocks_per_request(length)

    def capacity_tokens(self, num_blocks: int, length: int) -> int:
        """VLLM's `GPU KV cache size`: max_concurrency × max_model_len."""
        return int(self.max_concurrency(num_blocks, length) * length)


def kv_layout(
    architecture: Architecture,
    *,
    dtype: str,
    block_size: int,
    tensor_parallel_size: int,
    max_num_batched_tokens: int,
) -> KvLayout:
    """The layout on one rank; KV heads are replicated when there are more ranks than heads.

    Async scheduling, on by default, keeps two batches in flight (vllm/config/vllm.py:max_concurrent_batches).
    """
    heads = max(1, architecture.num_kv_heads // tensor_parallel_size)
    page = heads * block_size * 2 * architecture.head_dim * _ELEMENT_BYTES[dtype]
    return KvLayout(
        dtype=dtype,
        block_size=block_size,
        bytes_per_block=page * architecture.num_layers,
        window=architecture.sliding_window,
        in_flight_tokens=2 * max_num_batched_tokens,
    )
