"""Decoders whose answers are scores: reward models, and Llama as an encoder.

vllm/model_executor/models/{qwen2_rm,internlm2,llama}.py of 0.33.0. Heads for scores are kept in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.dense import plain as dense
from compiler.checkpoints.families.dense.encoder import labels
from compiler.checkpoints.families.dense.pooling import headless
from compiler.checkpoints.families.terms import check_present, check_value

Reader = Callable[[str, Config], Architecture]


def qwen2_reward(name: str, config: Config) -> Architecture:
    """Qwen2ForRewardModel: one score, whatever the config says."""
    return _scored(dense.qwen2(name, config), _qwen_head(config, 1))


def qwen2_process_reward(name: str, config: Config) -> Architecture:
    """Qwen2ForProcessRewardModel: two scores for each step."""
    return _scored(dense.qwen2(name, config), _qwen_head(config, 2))


def _qwen_head(config: Config, scores: int) -> tuple[Module, ...]:
    hidden = config.positive("hidden_size")
    return (
        Linear("score.0", hidden, hidden, Split.OUTPUTS, dtype="F32"),
        Vector("score.0.bias", hidden, Split.OUTPUTS, dtype="F32"),
        Linear("score.2", scores, hidden, Split.INPUTS, dtype="F32"),
        Vector("score.2.bias", scores, dtype="F32"),
    )


def internlm2_reward(name: str, config: Config) -> Architecture:
    """InternLM2ForRewardModel: one score."""
    head = (Linear("v_head", 1, config.positive("hidden_size"), Split.INPUTS, quantized=False, dtype="F32"),)
    return _scored(dense.internlm2(name, config), head)


def llama_encoder(name: str, config: Config) -> Architecture:
    """LlamaBidirectionalModel: attention in both directions, so that nothing is cached."""
    return _scored(dense.llama(name, _in_both_directions(config)), ())


def llama_encoder_sequence(name: str, config: Config) -> Architecture:
    """LlamaBidirectionalForSequenceClassification."""
    head = (Linear("score", labels(config), config.positive("hidden_size"), Split.REPLICATED, dtype="F32"),)
    return _scored(dense.llama(name, _in_both_directions(config)), head)


def _in_both_directions(config: Config) -> Config:
    # models/config.py:LlamaBidirectionalConfig
    check_present(config, "pooling")
    check_value(config, "pooling", ("avg", "cls", "last"))
    return Config({**config.data, "is_causal": False}, config.path)


def _scored(decoder: Architecture, head: tuple[Module, ...]) -> Architecture:
    """Without the output head, and with one for scores on every pipeline stage."""
    return replace(
        decoder,
        last=headless(decoder.last),
        everywhere=(*headless(decoder.everywhere), *head),
        pooling=True,
    )
