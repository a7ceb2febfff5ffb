"""Which towers stand before which language model, for all models that read images or sound.

vllm/model_executor/models/{gemma3_mm,kimi_k25,mllama4,muse_glimmer,qwen3_5,qwen3_vl_moe}.py and vllm/models/kimi_k3 of
0.33.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Encoder
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.dense import gemma, muse
from compiler.checkpoints.families.dense import plain as dense
from compiler.checkpoints.families.experts import plain as moe
from compiler.checkpoints.families.experts import windows as moe_windows
from compiler.checkpoints.families.experts.scored import cohere2_moe
from compiler.checkpoints.families.latent import mla
from compiler.checkpoints.families.multimodal import composed as vision
from compiler.checkpoints.families.multimodal.composed import VISION_TOWER_NAMES, around, text_config
from compiler.checkpoints.families.recurrent import kimi, qwen4_exp, states
from compiler.checkpoints.families.recurrent import qwen as qwen_hybrid
from compiler.checkpoints.families.terms import check_present
from compiler.checkpoints.families.towers.glm import glm4v_tower, glm_ocr_tower
from compiler.checkpoints.families.towers.intern import internvl_tower
from compiler.checkpoints.families.towers.native import kimi_k3_tower, kimi_k25_tower, kimi_vl_tower, muse_glimmer_tower
from compiler.checkpoints.families.towers.ocr import (
    deepseek_ocr_marks,
    deepseek_ocr_tower,
    dots_ocr_tower,
    paddleocr_vl_tower,
)
from compiler.checkpoints.families.towers.others import llama4_tower
from compiler.checkpoints.families.towers.patches import gemma3_tower, mistral3_tower
from compiler.checkpoints.families.towers.qwen import exaone4_5_tower, qwen3_5_tower, qwen4_exp_tower
from compiler.checkpoints.families.towers.tiles import (
    cohere2_vision_tower,
    end_of_row,
    granite4_vision_tower,
    idefics3_tower,
    lfm2_vl_tower,
    llava_next_tower,
    llava_onevision_tower,
    paligemma_tower,
)

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

_GLM4V_TEXT = {
    "vocab_size": 151552,
    "hidden_size": 4096,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "attention_bias": False,
    "model_type": "glm4v_text",
}
_GLM_OCR_TEXT = {
    "vocab_size": 59392,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "attention_bias": False,
    "model_type": "glm_ocr_text",
}
GLM4V_NAMES: vision.Renames = (
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
    ("model.visual.", "visual."),
)
LLAVA_NEXT_NAMES: vision.Renames = (*VISION_TOWER_NAMES, ("model.image_newline", "image_newline"))
GRANITE4_NAMES: vision.Renames = (
    ("model.language_model.", "language_model.model."),
    ("model.layerwise_projectors.", "layerwise_projectors."),
    ("model.spatial_projectors.", "spatial_projectors."),
    ("model.image_newline", "image_newline"),
    ("model.vision_tower.", "vision_tower."),
    ("lm_head.", "language_model.lm_head."),
)

glm4v = around(dense.glm4, lambda config: (glm4v_tower(config),), GLM4V_NAMES, **_GLM4V_TEXT)
glm4v_moe = around(moe.glm4_moe, lambda config: (glm4v_tower(config),), GLM4V_NAMES, model_type="glm4v_moe_text")
glm_ocr = around(dense.glm4, lambda config: (glm_ocr_tower(config),), GLM4V_NAMES, **_GLM_OCR_TEXT)
_granite4 = around(dense.granite, lambda config: (granite4_vision_tower(config),), GRANITE4_NAMES)
kimi_vl = around(mla.deepseek, lambda config: (kimi_vl_tower(config),), (), model_type="deepseek_v2")


def granite4_vision(name: str, config: Config) -> Architecture:
    """Granite4VisionForConditionalGeneration."""
    return vision.on_every_stage(_granite4(name, config), end_of_row(config))


def llava_next(name: str, config: Config) -> Architecture:
    """LlavaNextForConditionalGeneration."""
    return _llava(name, config, llava_next_tower, "llama")


def llava_onevision(name: str, config: Config) -> Architecture:
    """LlavaOnevisionForConditionalGeneration."""
    return _llava(name, config, llava_onevision_tower, "qwen2")


def _llava(name: str, config: Config, tower: Callable[[Config], Encoder], kind: str) -> Architecture:
    reader, text = vision.text_model(config, "text_config", kind, tied=config.flag("tie_word_embeddings"))
    whole = vision.composed(reader(name, text), (tower(config),), LLAVA_NEXT_NAMES)
    return vision.on_every_stage(whole, end_of_row(config))


def internvl(name: str, config: Config) -> Architecture:
    """InternVLForConditionalGeneration; its embeddings are tied unless the config says otherwise."""
    tied = config.flag("tie_word_embeddings", default=True)
    reader, text = vision.text_model(config, "text_config", "qwen2", tied=tied)
    return vision.composed(reader(name, text), (internvl_tower(config),), VISION_TOWER_NAMES)


def idefics3(name: str, config: Config) -> Architecture:
    """Idefics3ForConditionalGeneration and SmolVLM's, whose output head stands beside everything else."""
    reader, text = vision.text_model(config, "text_config", "llama", tied=config.flag("tie_word_embeddings"))
    whole = vision.standing_at(reader(name, text), "model.text_model", (idefics3_tower(config),))
    return replace(whole, pipelined=False)


def paligemma(name: str, config: Config) -> Architecture:
    """PaliGemmaForConditionalGeneration of both generations."""
    nested = config.at("text_config")
    reader = gemma.gemma if nested.text("model_type", default="gemma") == "gemma" else gemma.gemma2
    text = text_config(config, nested, {"model_type": "gemma"}, tied=True)
    return vision.composed(reader(name, text), (paligemma_tower(config),), VISION_TOWER_NAMES)


COHERE2_NAMES: vision.Renames = (
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
)
LIGHTON_NAMES: vision.Renames = (
    ("model.vision_encoder.", "vision_tower."),
    ("model.vision_projection.", "multi_modal_projector."),
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
)
DEEPSEEK_OCR_NAMES: vision.Renames = (
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.layers.", "language_model.model.layers."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", ""),
)
DOTS_OCR_NAMES: vision.Renames = (
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)


def cohere2_vision(name: str, config: Config) -> Architecture:
    """Cohere2VisionForConditionalGeneration, with experts or without."""
    nested = config.at("text_config")
    reader = cohere2_moe if nested.text("model_type", default="cohere2") == "cohere2_moe" else dense.cohere
    text = text_config(config, nested, {"model_type": "cohere2"}, tied=True)
    return vision.composed(reader(name, text), (cohere2_vision_tower(config),), COHERE2_NAMES)


def lighton_ocr(name: str, config: Config) -> Architecture:
    """LightOnOCRForConditionalGeneration: Mistral 3's tower before a Qwen3."""
    reader, text = vision.text_model(
        config, "text_config", "qwen3", tied=config.flag("tie_word_embeddings", default=True)
    )
    return vision.composed(reader(name, text), (mistral3_tower(config),), LIGHTON_NAMES)


def deepseek_ocr(name: str, config: Config) -> Architecture:
    """DeepseekOCRForCausalLM: its language model stands under `language_config`."""
    text = text_config(config, config.at("language_config"), {"model_type": "deepseek_v2"}, tied=False)
    whole = vision.composed(mla.deepseek(name, text), (deepseek_ocr_tower(config),), DEEPSEEK_OCR_NAMES)
    return vision.on_every_stage(whole, deepseek_ocr_marks(config))


def dots_ocr(name: str, config: Config) -> Architecture:
    """DotsOCRForCausalLM: Qwen2's keys at the top."""
    return vision.composed(dense.qwen2(name, config), (dots_ocr_tower(config),), DOTS_OCR_NAMES)


def paddleocr_vl(name: str, config: Config) -> Architecture:
    """PaddleOCRVLForConditionalGeneration: Ernie 4.5, whose keys stand at the top in older files."""
    nested = config.at("text_config") if "text_config" in config else config
    text = text_config(config, nested, {}, tied=config.flag("tie_word_embeddings", default=True))
    whole = vision.composed(dense.ernie(name, text), (paddleocr_vl_tower(config),), ())
    return replace(whole, pipelined=False)


def exaone4_5(name: str, config: Config) -> Architecture:
    """Exaone4_5_ForConditionalGeneration."""
    text = text_config(config, config.at("text_config"), {}, tied=config.flag("tie_word_embeddings"))
    return vision.composed(dense.exaone4(name, text), (exaone4_5_tower(config),), vision.QWEN2_VL_NAMES)


lfm2_vl = around(
    states.lfm2,
    lambda config: (lfm2_vl_tower(config),),
    VISION_TOWER_NAMES,
    tie_word_embeddings=True,
    model_type="lfm2",
)
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


def qwen4_exp_vision(name: str, config: Config) -> Architecture:
    """Qwen4ExpForConditionalGeneration, whose class looks up levels of the tower that its configuration lacks."""
    check_present(config.at("vision_config"), "deepstack_visual_indexes")
    text = qwen4_exp.language_model(name, config.at("text_config"))
    whole = vision.composed(text, (qwen4_exp_tower(config),), vision.QWEN3_VL_NAMES)
    return replace(whole, first_stage=len(config.at("vision_config").items("deepstack_visual_indexes")))
