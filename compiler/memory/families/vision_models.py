"""Which towers stand before which language model, for all models that read images or sound.

vllm/model_executor/models/{gemma3_mm,kimi_k25,mllama4,muse_glimmer,qwen3_5,qwen3_vl_moe}.py and vllm/models/kimi_k3 of
0.33.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from compiler.memory.architecture import Architecture
from compiler.memory.config import Config
from compiler.memory.families import gemma, gemma4, kimi, mla, moe, moe_windows, muse, qwen_hybrid, vision
from compiler.memory.families.minimax_m3 import minimax_m3
from compiler.memory.families.terms import check_present
from compiler.memory.families.vision import VISION_TOWER_NAMES, around, text_config
from compiler.memory.families.vision_native import kimi_k3_tower, kimi_k25_tower, muse_glimmer_tower
from compiler.memory.families.vision_others import llama4_tower
from compiler.memory.families.vision_patches import gemma3_tower
from compiler.memory.families.vision_qwen import qwen3_5_tower

_GEMMA3_TEXT = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "model_type": "gemma3_text",
}

_qwen3_vl_moe = vision.around_qwen3_vl(moe.qwen3_moe)


def qwen3_vl_moe(name: str, config: Config) -> Architecture:
    """Qwen3VLMoeForConditionalGeneration."""
    check_present(config.at("text_config"), "norm_topk_prob")
    return _qwen3_vl_moe(name, config)


gemma3 = around(
    gemma.gemma3, lambda config: (gemma3_tower(config),), VISION_TOWER_NAMES, tie_word_embeddings=True, **_GEMMA3_TEXT
)
llama4 = around(moe_windows.llama4, lambda config: (llama4_tower(config),), ())
kimi_k25 = around(
    mla.deepseek, lambda config: (kimi_k25_tower(config),), vision.KIMI_K25_NAMES, tie_word_embeddings=True
)
kimi_k3 = around(kimi.kimi_linear, lambda config: (kimi_k3_tower(config),), vision.KIMI_K25_NAMES)


def muse_glimmer(name: str, config: Config) -> Architecture:
    """MuseGlimmerForConditionalGeneration: its decoder stands where a language model alone has it."""
    nested = config.at("text_config")
    text = text_config(config, nested, {}, tied=nested.flag("tie_word_embeddings"))
    return replace(muse.text(name, text), encoders=(muse_glimmer_tower(config),))


def qwen3_5(name: str, config: Config) -> Architecture:
    """Qwen3_5ForConditionalGeneration and Qwen3_5MoeForConditionalGeneration."""
    return vision.composed(qwen_hybrid.qwen3_5(name, config), (qwen3_5_tower(config),), vision.QWEN3_VL_NAMES)


VISION_MODELS: Mapping[str, Callable[[str, Config], Architecture]] = {
    "Gemma3ForConditionalGeneration": gemma3,
    "Gemma4ForCausalLM": gemma4.gemma4_text,
    "Gemma4ForConditionalGeneration": gemma4.gemma4,
    "InternVLChatModel": vision.internvl,
    "KimiK25ForConditionalGeneration": kimi_k25,
    "KimiK3ForConditionalGeneration": kimi_k3,
    "Llama4ForConditionalGeneration": llama4,
    "LlavaForConditionalGeneration": vision.llava,
    "Mistral3ForConditionalGeneration": vision.mistral3,
    "MiniMaxM3SparseForConditionalGeneration": minimax_m3,
    "MuseGlimmerForConditionalGeneration": muse_glimmer,
    "Phi3VForCausalLM": vision.phi3_vision,
    "Qwen2_5_VLForConditionalGeneration": vision.qwen2_5_vl,
    "Qwen2VLForConditionalGeneration": vision.qwen2_vl,
    "Qwen3_5ForConditionalGeneration": qwen3_5,
    "Qwen3_5MoeForConditionalGeneration": qwen3_5,
    "Qwen3VLForConditionalGeneration": vision.qwen3_vl,
    "Qwen3VLMoeForConditionalGeneration": qwen3_vl_moe,
}
