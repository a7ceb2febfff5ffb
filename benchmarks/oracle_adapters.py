"""Room for LoRA adapters of many real configs, as vLLM's own answers have it and as the ledger counts it."""

from __future__ import annotations

from typing import Any

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.quantization.read import UnknownLayoutError, read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.kernels.expert_backends import experts_of
from compiler.engines.vllm.memory.lora.adapters import EXPERTS, HEAD, MOST_WORDS, AdapterSlots, slot_bytes
from compiler.engines.vllm.releases.adapters import RANKS, AdapterClass, adapter_class
from compiler.lock.models import ModelFacts
from compiler.lock.quantization import checkpoint_format


def is_of_adapters(row: dict[str, Any]) -> bool:
    """Whether an answer is about adapters."""
    return "max_lora_rank" in row


def judged_adapters(row: dict[str, Any], facts: ModelFacts, version: str) -> int | str:
    """Bytes of all slots on the rank of an answer, or the reason why there are none."""
    try:
        architecture = read_architecture(facts.config)
        found = adapter_class(version, architecture.name)
        if found is None:
            return f"LoRA is not supported for {architecture.name}"
        slots, ranks = _slots(row), row["tensor_parallel_size"]
        refusal = _refusal(row, architecture, slots, found)
        if refusal is not None:
            return refusal
        stages = row.get("pipeline_parallel_size", 1)
        rank = Parallelism(
            ranks, stages, row.get("rank", 0) // ranks, expert_parallel=row.get("enable_expert_parallel", False)
        )
        dtype = row.get("dtype") or architecture.checkpoint_dtype
        packed = read_quantization(checkpoint_format(facts), facts.quantization, facts.config)
        return slot_bytes(architecture, rank, slots, found, dtype, quantization=packed)
    except UnsupportedArchitectureError as error:
        return f"no formulas for {error}"
    except (ConfigError, SplitError, UnknownLayoutError) as error:
        return str(error)


def _slots(row: dict[str, Any]) -> AdapterSlots:
    modules = row.get("lora_target_modules")
    return AdapterSlots(
        rank=row["max_lora_rank"],
        at_once=row.get("max_loras", 1),
        modules=None if modules is None else tuple(modules),
        sharded=row.get("fully_sharded_loras", False),
    )


def _refusal(row: dict[str, Any], architecture: Architecture, slots: AdapterSlots, found: AdapterClass) -> str | None:
    if slots.rank not in RANKS:
        return f"a rank of {slots.rank} is none that vLLM has"
    if HEAD in found.tables and slots.matches(HEAD, found) and architecture.vocab_size > MOST_WORDS:
        return f"a vocabulary of {architecture.vocab_size} is larger than {MOST_WORDS}"
    whole = row.get("enable_expert_parallel") and slots.sharded and slots.matches(EXPERTS, found)
    return "whole experts and parts of ranks exclude each other" if whole and experts_of(architecture) else None
