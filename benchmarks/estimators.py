"""What two published estimators say of the same start-ups, by their own formulas and constants.

llm-d-planner (commit e50305a, 2026-04-27): src/planner/capacity_planner.py. hf-mem (0.5.6): weights and KV cache only;
it knows no GPU, no split and no activation. Bytes of the checkpoint are what both read from safetensors headers, which
here is the sum over the parameters that config.json implies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compiler.units import GIB

_DENSE, _EXPERTS, _MULTIMODAL = 5.5, 8.0, 2.5
_PROFILES = {"LlamaForCausalLM": 4.8, "Qwen2ForCausalLM": 5.6, "Qwen3ForCausalLM": 5.6}
_NON_TORCH_ONE, _NON_TORCH_MORE = 0.15, 0.6
_EXPERT_KEYS = ("n_routed_experts", "n_shared_experts", "num_experts", "num_experts_per_tok", "num_local_experts")
_WIDTH = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one rank, in bytes; `tokens` of KV cache. None: the estimator says nothing of it."""

    weights: float
    activation: float | None
    non_torch: float | None
    tokens: float | None


def llmd_planner(
    config: Mapping[str, Any], checkpoint_bytes: int, ranks: int, stages: int, budget: float | None
) -> Estimate:
    """llm-d-planner. `budget` is what one GPU lends to vLLM, in bytes; None where the log does not say."""
    count = ranks * stages
    weights = checkpoint_bytes / count
    activation = _activation(config) * GIB
    non_torch = (_NON_TORCH_ONE if ranks == 1 else _NON_TORCH_MORE) * GIB
    if budget is None:
        return Estimate(weights, activation, non_torch, None)
    # Activation is charged once for all ranks of a replica, as is the memory outside torch.
    cache = budget * count - checkpoint_bytes - activation - non_torch
    per_token = _kv_bytes_per_token(config)
    return Estimate(weights, activation, non_torch, max(0.0, cache) / per_token if per_token else None)


def hf_mem(checkpoint_bytes: int) -> Estimate:
    """hf-mem: the checkpoint as it lies, whatever the split."""
    return Estimate(checkpoint_bytes, None, None, None)


def _activation(config: Mapping[str, Any]) -> float:
    name = str((config.get("architectures") or [""])[0])
    if name in _PROFILES:
        return _PROFILES[name]
    text = config.get("text_config") or config
    if any(key in text for key in _EXPERT_KEYS):
        return _EXPERTS
    return _MULTIMODAL if "vision_config" in config else _DENSE


def _kv_bytes_per_token(config: Mapping[str, Any]) -> int:
    text = config.get("text_config") or config
    layers = int(text.get("num_hidden_layers") or 0)
    if text.get("kv_lora_rank"):
        return layers * (int(text["kv_lora_rank"]) + int(text.get("qk_rope_head_dim") or 0)) * _WIDTH
    heads = int(text.get("num_attention_heads") or 0)
    if not heads:
        return 0
    width = int(text.get("head_dim") or int(text.get("hidden_size") or 0) // heads)
    return 2 * layers * int(text.get("num_key_value_heads") or heads) * width * _WIDTH
