"""How a model is divided over ranks, and what one rank gets of each dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass

from compiler.checkpoints.architecture import Split

VOCAB_PADDING = 64  # vllm/model_executor/layers/vocab_parallel_embedding.py:DEFAULT_VOCAB_PADDING_SIZE


class SplitError(ValueError):
    """The model cannot be split over that many ranks; vLLM would refuse to start."""


@dataclass(frozen=True, slots=True)
class Parallelism:
    """One rank of a divided model.

    Attributes:
        stage: pipeline stage of this rank, from 0.
        expert_parallel: whole experts are spread over ranks, instead of slices of each.
    """

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    stage: int = 0
    data_parallel_size: int = 1
    expert_parallel: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this rank holds the embeddings."""
        return self.stage == 0

    @property
    def is_last(self) -> bool:
        """Whether this rank holds the output head."""
        return self.stage == self.pipeline_parallel_size - 1

    @property
    def expert_ranks(self) -> int:
        """Ranks over which routed experts, or slices of them, are spread: data parallelism counts too."""
        return self.tensor_parallel_size * self.data_parallel_size

    def parts(self, split: Split, heads: int = 1) -> int:
        """Into how many parts a dimension is divided; the rest of the ranks hold copies."""
        if split is Split.REPLICATED:
            return 1
        return min(self.tensor_parallel_size, heads) if split is Split.KV_HEADS else self.tensor_parallel_size

    def share(self, size: int, split: Split, heads: int = 1) -> int:
        """This rank's part of a dimension.

        Raises:
            SplitError: it does not divide.
        """
        parts = self.parts(split, heads)
        if size % parts:
            raise SplitError(f"{size} does not divide by {parts}")
        return size // parts

    def layers(self, count: int) -> range:
        """Layers of this stage; the remainder goes to the stages before the last, from the back.

        See vllm/distributed/utils.py:get_pp_indices of 0.33.0.
        """
        stages = self.pipeline_parallel_size
        if stages > count:
            raise SplitError(f"{count} layers do not fill {stages} pipeline stages")
        sizes = [count // stages] * stages
        for extra in range(count % stages):
            sizes[-(extra + 2)] += 1
        start = sum(sizes[: self.stage])
        return range(start, start + sizes[self.stage])

    def local_experts(self, count: int) -> int:
        """Experts on the rank that has most (vllm/model_executor/layers/fused_moe/expert_map_manager.py)."""
        return math.ceil(count / self.expert_ranks) if self.expert_parallel else count


def padded_rows(rows: int) -> int:
    """Rows of an embedding table with vLLM's padding."""
    return math.ceil(rows / VOCAB_PADDING) * VOCAB_PADDING
