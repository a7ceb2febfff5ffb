"""Generating models that score how well a text fits a query: by the probability of which words.

Their checkpoints say nothing of it. vLLM 0.33.0 names them where it turns rows of the output head into a score
(vllm/model_executor/models/adapters.py:seq_cls_model_loader), the words are those of the models' cards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reranker:
    """Models that are asked alike.

    Attributes:
        name: what their repositories' names hold, in lower case.
        architecture: as in `architectures`.
        tokens: one word, or the one against and the one for.
        source: the card that says so.
    """

    name: str
    architecture: str
    tokens: tuple[str, ...]
    source: str


_QWEN3 = "https://huggingface.co/Qwen/Qwen3-Reranker-0.6B"

RERANKERS: tuple[Reranker, ...] = (
    Reranker("qwen3-reranker", "Qwen3ForCausalLM", ("no", "yes"), _QWEN3),
    Reranker("qwen3-vl-reranker", "Qwen3VLForConditionalGeneration", ("no", "yes"), _QWEN3),
    Reranker(
        "mxbai-rerank", "Qwen2ForCausalLM", ("0", "1"), "https://huggingface.co/mixedbread-ai/mxbai-rerank-base-v2"
    ),
    Reranker(
        "bge-reranker-v2-gemma", "GemmaForCausalLM", ("Yes",), "https://huggingface.co/BAAI/bge-reranker-v2-gemma"
    ),
)

METHODS = {1: "no_post_processing", 2: "from_2_way_softmax"}
"""How vLLM makes a score of so many words (adapters.py:SEQ_CLS_LOAD_METHODS)."""


def known_tokens(names: Iterable[str], architecture: str) -> tuple[str, ...]:
    """The words of a model with one of these names, its own or that of a model it was made of; empty if unknown."""
    lowered = [name.lower() for name in names]
    fitting = (each for each in RERANKERS if each.architecture == architecture)
    return next((each.tokens for each in fitting if any(each.name in name for name in lowered)), ())
