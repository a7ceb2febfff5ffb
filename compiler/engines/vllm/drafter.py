"""What drafts tokens beside a model: a lookup in the text itself, a smaller model, or a head on its hidden states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from compiler.checkpoints.architecture import Architecture, Cache, HeadCache, Layer, Table
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.spec.speculation import Method

MOST_SEATS = 64
"""Requests at once where the spec does not say and tokens are drafted: guesses pay off where few requests wait, and
checking those of 256 takes a gigabyte that vLLM does not count."""

ENGINE_METHODS = {"ngram": "ngram", "draft": "draft_model", "eagle3": "eagle3"}
"""What vLLM calls each (vllm/config/speculative.py)."""


@dataclass(frozen=True, slots=True)
class Head:
    """A draft that reads hidden states of the model beside it.

    Attributes:
        states: of each token that it reads at once.
        has_embeddings: whether its checkpoint holds embeddings, which are kept where they differ from the model's;
            None where nobody knows.
        has_head: likewise of an output head.
    """

    states: int
    has_embeddings: bool | None
    has_head: bool | None


@dataclass(frozen=True, slots=True)
class Drafter:
    """How tokens are drafted.

    Attributes:
        tokens: in each step.
        name: key of `Lock.models`; None where no second model is loaded.
        checkpoint: of that model, with everything that is loaded of it.
        head: of a draft that reads hidden states.
    """

    method: Method
    tokens: int
    name: str | None = None
    checkpoint: Checkpoint | None = None
    head: Head | None = None

    @property
    def rows(self) -> int:
        """Of logits that one request has in a step: its own and one for each guess."""
        return 1 + self.tokens

    @property
    def max_model_len(self) -> int | None:
        """Tokens of the longest request that it can draft for, to which vLLM would shorten the model's context.

        Heads follow the model's positions (vllm/config/speculative.py:draft_shares_target_positions).
        """
        if self.checkpoint is None or self.head is not None:
            return None
        return self.checkpoint.architecture.max_model_len

    def least_batch(self, sequences: int) -> int:
        """Tokens of a batch in which the guesses of all sequences are checked at once."""
        return self.rows * sequences


@lru_cache(maxsize=1024)
def with_caches(model: Architecture, draft: Architecture) -> Architecture:
    """The model with the draft's layers behind its own: vLLM plans the caches of both as those of one model.

    A window that all layers of a model share stands in the configuration of the cache, which both have from the model:
    the draft's layers see as far as the model's, whatever its own config says
    (vllm/model_executor/layers/attention/attention.py:Attention). Windows that differ by layer are the layers' own.
    """
    shared, own = _windows(model), _windows(draft)
    window = next(iter(shared)) if len(shared) == 1 else None
    known: dict[int, Layer] = {}
    for layer in draft.kinds:
        caches = tuple(_within(cache, window, is_own=len(own) > 1) for cache in layer.caches)
        known[id(layer)] = replace(layer, caches=caches)
    return replace(model, layers=(*model.layers, *(known[id(layer)] for layer in draft.layers)))


def _windows(architecture: Architecture) -> set[int | None]:
    caches = (cache for layer in architecture.kinds for cache in layer.caches)
    return {cache.window for cache in caches if isinstance(cache, HeadCache)}


def _within(cache: Cache, window: int | None, *, is_own: bool) -> Cache:
    if not isinstance(cache, HeadCache) or (is_own and cache.window is not None):
        return cache
    return replace(cache, window=window)


@lru_cache(maxsize=1024)
def without_tables(draft: Architecture, *, embeddings: bool, head: bool) -> Architecture:
    """A head's modules less those tables that it shares with the model beside it.

    Args:
        embeddings, head: which of them are shared (vllm/v1/worker/gpu/spec_decode/eagle/utils.py).
    """
    first = tuple(each for each in draft.first if not (embeddings and isinstance(each, Table)))
    last = tuple(each for each in draft.last if not (head and isinstance(each, Table)))
    return replace(draft, first=first, last=last)
