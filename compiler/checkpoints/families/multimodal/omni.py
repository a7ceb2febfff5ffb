"""Models that hear, and some that see as well: Qwen2-Audio, Qwen2.5-Omni, Qwen3-Omni, Qwen3-ASR.

vllm/model_executor/models/{qwen2_audio,qwen2_5_omni_thinker,qwen3_omni_moe_thinker,qwen3_asr}.py of 0.33.0. Of the
omni models vLLM serves the thinker alone: what speaks is not loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.dense import plain as dense
from compiler.checkpoints.families.experts import plain as moe
from compiler.checkpoints.families.multimodal.composed import Renames, composed, text_config, text_model
from compiler.checkpoints.families.towers.audio import qwen2_5_omni_audio_tower, qwen2_audio_tower, qwen3_audio_tower
from compiler.checkpoints.families.towers.qwen import qwen2_5_vl_tower, qwen3_omni_tower

_THINKER: Renames = (
    ("thinker.lm_head.", "language_model.lm_head."),
    ("thinker.model.", "language_model.model."),
    ("thinker.", ""),
)
_QWEN3_OMNI: Renames = (*_THINKER, ("model.", "language_model.model."), ("lm_head.", "language_model.lm_head."))
_QWEN3_ASR: Renames = (
    *_THINKER,
    ("model.audio_tower.", "audio_tower."),
    ("model.language_model.", "language_model.model."),
    ("model.multi_modal_projector.linear_1.", "audio_tower.proj1."),
    ("model.multi_modal_projector.linear_2.", "audio_tower.proj2."),
    ("lm_head.", "language_model.lm_head."),
)
_QWEN2_5_OMNI_TEXT = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
}


def qwen2_audio(name: str, config: Config) -> Architecture:
    """Qwen2AudioForConditionalGeneration."""
    nested = config.at("text_config")
    tied = config.flag("tie_word_embeddings", default=nested.flag("tie_word_embeddings"))
    reader, text = text_model(config, "text_config", "qwen2", tied=tied)
    return composed(reader(name, text), (qwen2_audio_tower(config),), ())


def qwen2_5_omni(name: str, config: Config) -> Architecture:
    """Qwen2_5OmniForConditionalGeneration."""
    thinker = config.at("thinker_config")
    text = _thinker_text(config, thinker, {**_QWEN2_5_OMNI_TEXT, "tie_word_embeddings": True}, "qwen2")
    towers = (qwen2_5_vl_tower(thinker), qwen2_5_omni_audio_tower(thinker))
    return composed(dense.qwen2(name, text), towers, _THINKER)


def qwen3_omni(name: str, config: Config) -> Architecture:
    """Qwen3OmniMoeForConditionalGeneration."""
    thinker = config.at("thinker_config")
    text = _thinker_text(config, thinker, {}, "qwen3_omni_moe_text")
    return composed(moe.qwen3_moe(name, text), (qwen3_omni_tower(thinker), qwen3_audio_tower(thinker)), _QWEN3_OMNI)


def qwen3_asr(name: str, config: Config) -> Architecture:
    """Qwen3ASRForConditionalGeneration, by its own keys and by those of transformers, which have no thinker."""
    thinker = config.at("thinker_config") if "thinker_config" in config else config
    text = _thinker_text(config, thinker, {}, "qwen3")
    return composed(dense.qwen3(name, text), (qwen3_audio_tower(thinker),), _QWEN3_ASR)


def _thinker_text(config: Config, thinker: Config, defaults: Mapping[str, Any], kind: str) -> Config:
    """The language model's keys; the top of the file decides about tied embeddings where it says anything."""
    nested = thinker.at("text_config")
    own = nested.flag("tie_word_embeddings", default=bool(defaults.get("tie_word_embeddings", False)))
    text = text_config(config, nested, defaults, tied=config.flag("tie_word_embeddings", default=own))
    # Windows are switched as the model's that it is taken from.
    return Config({**text.data, "model_type": kind}, text.path)
