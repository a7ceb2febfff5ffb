"""Drafts beside many real configs, as vLLM's own answers have them and as the ledger counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.dense.eagle3 import read_eagle3
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.drafter import Drafter, Head, with_caches
from compiler.engines.vllm.judge.verdicts import Engine, refusal_of
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kernels.backend import NoBackendError
from compiler.engines.vllm.kv_cache.groups import PagesError
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.speculation.drafting import draft_weights_row, dropped_bytes
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import ModelFacts
from compiler.units import GIB

_SEATS = 64


@dataclass(frozen=True, slots=True)
class Drafted:
    """Our figures for one row: bytes of the draft as it is loaded, and blocks that both caches share."""

    loaded: int
    num_blocks: int


def is_of_drafts(row: dict[str, Any]) -> bool:
    """Whether an answer is about a model and its draft."""
    return "speculate" in row


def judged_drafts(row: dict[str, Any], facts: ModelFacts, capability: tuple[int, int], tokens: int) -> Drafted | str:
    """Our figures for one answer, or the reason why there are none.

    Args:
        tokens: of a batch.
    """
    dtype, ranks = row["dtype"], row["tensor_parallel_size"]
    shape = ServerShape(ranks, row["max_model_len"], _SEATS, tokens, dtype, capability)
    try:
        model = read_architecture(facts.config)
        drafter = _drafter(row["speculate"])
        refusal = _refusal(row, facts, capability) or _unequal(model, drafter)
        if refusal is not None:
            return refusal
        plan = attention_plan(
            model, capability=capability, served_dtype=dtype, kv_cache_dtype="auto", tensor_parallel_size=ranks
        )
        both = model if drafter.checkpoint is None else with_caches(model, drafter.checkpoint.architecture)
        layout = rank_kv_layout(
            both,
            Parallelism(ranks),
            dtype=plan.kv_dtype,
            block_size=plan.block_size,
            max_num_batched_tokens=tokens,
            served_dtype=dtype,
            compute_capability=capability,
        )
        return Drafted(_loaded(drafter, shape), row["kv_cache_gib"] * GIB // layout.bytes_per_block)
    except UnsupportedArchitectureError as error:
        return f"no formulas for {error}"
    except (ConfigError, SplitError, NoBackendError, PagesError) as error:
        return str(error)


def _drafter(asked: dict[str, Any]) -> Drafter:
    method, tokens, config = asked["method"], asked["tokens"], asked["config"]
    if config is None:
        return Drafter(method, tokens)
    if method != "eagle3":
        return Drafter(method, tokens, "draft", Checkpoint(read_architecture(config), None, None))
    found = read_eagle3(Config(config))
    head = Head(found.states, has_embeddings=None, has_head=None)
    return Drafter(method, tokens, "draft", Checkpoint(found.architecture, None, None), head)


def _refusal(row: dict[str, Any], facts: ModelFacts, capability: tuple[int, int]) -> str | None:
    """Why one of both models is not served, or not divided so."""
    asked, engine = row["speculate"], Engine(RELEASES["0.33.0"], capability)
    configs = [facts.config, *([asked["config"]] if asked["method"] == "draft" else ())]
    parallelism = Parallelism(row["tensor_parallel_size"])
    found = (refusal_of(each, "none", None, engine, parallelism=parallelism, dtype=row["dtype"]) for each in configs)
    return next((reason for reason in found if reason is not None), None)


def _unequal(model: Architecture, drafter: Drafter) -> str | None:
    draft = None if drafter.checkpoint is None else drafter.checkpoint.architecture
    if draft is not None and draft.vocab_size != model.vocab_size:
        return f"a vocabulary of {draft.vocab_size} beside one of {model.vocab_size}"
    return None


def _loaded(drafter: Drafter, shape: ServerShape) -> int:
    """What stays, and what is dropped for what it shares with the model."""
    row = draft_weights_row(drafter, shape)
    return 0 if row is None else row.bytes.low + dropped_bytes(drafter, shape)
