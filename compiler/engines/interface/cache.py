"""What a KV cache holds, whatever its units are."""

from __future__ import annotations

from typing import Protocol


class CacheCapacity(Protocol):
    """The KV cache of the rank that decides how many requests fit, by its engine's arithmetic."""

    def blocks_per_request(self, length: int) -> int:
        """Units that one request of `length` tokens holds at most; 0 where the model keeps nothing of a request."""
        ...

    def blocks_for(self, *, concurrency: int, length: int) -> int:
        """Units in which `concurrency` requests of `length` tokens fit at once."""
        ...

    def max_length(self, num_blocks: int, *, limit: int, concurrency: int = 1) -> int:
        """Tokens of the longest request of which `concurrency` fit at once, up to `limit`; 0 if none does."""
        ...

    def source(self, num_blocks: int, sequences: int) -> str:
        """Where these figures come from, for people: a cache of so many units, and requests that run at once."""
        ...
