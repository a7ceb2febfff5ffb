"""Models that put InternViT before a language model as InternVLChatModel does, and read images only.

vllm/model_executor/models/{h2ovl,skyworkr1v,qianfan_ocr}.py and vllm/transformers_utils/processors/{h2ovl,internvl}.py
of 0.33.0.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture, Encoder, ItemSize, Module
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.multimodal.composed import composed, text_model
from compiler.checkpoints.families.towers.others import intern_projector, intern_vit, tokens_of_tile
from compiler.checkpoints.families.towers.parts import quantizer, shuffle_of, unquantized

# transformers' QianfanOCRVisionConfig; images and patches may be given for each side.
_QIANFAN_VISION = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "hidden_act": "gelu",
    "norm_type": "layer_norm",
    "image_size": 448,
    "patch_size": 14,
}


def h2ovl(name: str, config: Config) -> Architecture:
    """H2OVLChatModel: an image is cut twice, finely and coarsely, where `use_msac` says so."""
    vision, hidden = config.at("vision_config"), config.at("llm_config").positive("hidden_size")
    modules = (*intern_vit(config, vision), *unquantized(intern_projector(config, vision, hidden)))
    tiles = _tiles(config) * (2 if config.flag("use_msac") else 1)
    return _before_remote(name, config, _encoder(config, vision, modules, tiles, hidden))


def skywork_r1v(name: str, config: Config) -> Architecture:
    """SkyworkR1VChatModel, whose projector is quantized with the rest."""
    vision, hidden = config.at("vision_config"), config.at("llm_config").positive("hidden_size")
    modules = (*intern_vit(config, vision), *intern_projector(config, vision, hidden))
    return _before_remote(name, config, _encoder(config, vision, modules, _tiles(config), hidden))


def qianfan_ocr(name: str, config: Config) -> Architecture:
    """QianfanOCRForConditionalGeneration: transformers' keys, and FP8 leaves the tower alone."""
    vision, hidden = _qianfan_vision(config.at("vision_config")), config.at("text_config").positive("hidden_size")
    tower = intern_vit(config, vision)
    # Also where vLLM quantizes to FP8 itself, which the file does not tell.
    built = unquantized(tower) if quantizer(config) in ("", "fp8") else tower
    modules = (*built, *unquantized(intern_projector(config, vision, hidden)))
    encoder = _encoder(config, vision, modules, _tiles(config), hidden)
    reader, text = text_model(config, "text_config", "qwen3", tied=config.flag("tie_word_embeddings"))
    return composed(reader(name, text), (encoder,), ())


def _qianfan_vision(stored: Config) -> Config:
    """The tower's keys by the names that InternViT reads (qianfan_ocr.py:_add_intern_vit_fields)."""
    sizes = {key: stored.data[key] for key in ("image_size", "patch_size") if key in stored}
    named = {
        "qkv_bias": stored.flag("attention_bias", default=True),
        "qk_normalization": stored.flag("use_qk_norm"),
        **{key: side[0] if isinstance(side, list) and side else side for key, side in sizes.items()},
    }
    given = {key: value for key, value in stored.data.items() if key not in sizes}
    return Config({**_QIANFAN_VISION, **named, **given}, stored.path)


def _tiles(config: Config) -> int:
    """Squares of the largest image, with the whole of it beside them."""
    return config.positive("max_dynamic_patch", default=12) + 1


def _encoder(config: Config, vision: Config, modules: tuple[Module, ...], tiles: int, hidden: int) -> Encoder:
    tokens = tiles * tokens_of_tile(config, vision)
    item = ItemSize((tokens, tokens), shuffle_of(config) ** 2, "max_dynamic_patch squares and the whole")
    width, mlp = vision.positive("hidden_size"), vision.positive("intermediate_size")
    return Encoder(modules, ("image",), None, width, mlp, hidden, item)


def _before_remote(name: str, config: Config, encoder: Encoder) -> Architecture:
    """Behind it the language model of a repository's own configuration class.

    The top of the file decides about tied embeddings where it says anything (vllm/config/vllm.py:with_hf_config).
    """
    tied = config.flag("tie_word_embeddings", default=config.at("llm_config").flag("tie_word_embeddings"))
    reader, text = text_model(config, "llm_config", "llama", tied=tied)
    return composed(reader(name, text), (encoder,), ())
