"""Step3-VL: a perception encoder, two convolutions that halve its grid, and an ordinary language model.

vllm/model_executor/models/{step_vl,step3_vl}.py and vllm/transformers_utils/processors/step3_vl.py of 0.33.0. Its
configuration class stands in the repositories themselves, so keys without a default here have to be in config.json.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.multimodal.composed import Renames, composed, text_model
from compiler.checkpoints.families.terms import check_present, check_value
from compiler.checkpoints.families.towers.parts import (
    blocks,
    convolution,
    grid_of,
    heads_of,
    layer_norms,
    stored_qkv,
    two_layers,
)
from compiler.checkpoints.rotary_table import RotaryTable

_NAMES: Renames = (("model.", "language_model.model."), ("lm_head.", "language_model.lm_head."))
# The largest image is cut into 36 squares of 504 pixels beside the whole of it at 728 (Step3VLImageProcessor):
# 81 and 169 tokens, each with two marks, and five ends of rows.
_SQUARES, _SQUARE_SIDE, _WHOLE_SIDE = 36, 504, 728
_TOKENS = _SQUARES * (81 + 2) + 169 + 2 + 5
_WIDEST_RATIO = 64


def step_vl(name: str, config: Config) -> Architecture:
    """StepVLForConditionalGeneration; the top of the file decides about tied embeddings where it says anything."""
    tied = config.flag("tie_word_embeddings", default=config.at("text_config").flag("tie_word_embeddings"))
    reader, text = text_model(config, "text_config", "qwen3", tied=tied)
    alone = reader(name, text)
    whole = composed(alone, (_tower(config, alone.hidden_size),), _NAMES)
    return replace(whole, rotary=(*alone.rotary, *_tables(config.at("vision_config"))))


def _tables(vision: Config) -> tuple[RotaryTable, ...]:
    """Each block keeps angles of every patch (PerceptionEncoderRope2D)."""
    width, patches = vision.positive("width"), grid_of(vision, 728, 14) ** 2 + vision.flag("use_cls_token")
    table = RotaryTable(patches, width // heads_of(vision, "heads", width, 16), "float32")
    return (table,) * vision.layers("layers")


def _tower(config: Config, hidden: int) -> Encoder:
    vision = config.at("vision_config")
    check_activation(vision, PLAIN)
    check_value(vision, "use_rope2d", (True,))
    check_present(config, "projector_bias")
    width, patch = vision.positive("width"), vision.positive("patch_size")
    heads, mlp = heads_of(vision, "heads", width, 16), _inner(vision, width)
    modules = (
        *_embeddings(vision, width, patch),
        *blocks("vision_model.transformer.resblocks", vision.layers("layers"), _block(vision, width, mlp)),
        *(layer_norms(width, "vision_model.ln_post") if vision.flag("use_ln_post") else ()),
        *convolution("vision_model.vit_downsampler1", 2 * width, 9 * width, bias=True),
        *convolution("vision_model.vit_downsampler2", 4 * width, 9 * 2 * width, bias=True),
        Linear("vit_large_projector", hidden, 4 * width, Split.OUTPUTS, config.flag("projector_bias")),
    )
    rows = _SQUARES * (_SQUARE_SIDE // patch) ** 2 + (_WHOLE_SIDE // patch) ** 2
    item = ItemSize((_TOKENS, _TOKENS), -(-rows // _TOKENS), "36 squares and the whole of 3024 × 3024 pixels")
    return Encoder(modules, ("image",), heads, width, mlp, hidden, item, rotates=True)


def _inner(vision: Config, width: int) -> int:
    ratio = vision.data.get("mlp_ratio")
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 1 <= ratio <= _WIDEST_RATIO:
        raise ConfigError(f"`{vision.path}mlp_ratio` must be a number from 1, not {str(ratio)[:40]}")
    return int(width * ratio)


def _embeddings(vision: Config, width: int, patch: int) -> tuple[Module, ...]:
    patches, marked = grid_of(vision, 728, 14) ** 2, vision.flag("use_cls_token")
    table = Vector("vision_model.positional_embedding", (patches + marked) * width)
    return (
        *convolution("vision_model.conv1", width, 3 * patch**2, bias=False),
        *(layer_norms(width, "vision_model.ln_pre") if vision.flag("use_ln_pre") else ()),
        *((Vector("vision_model.class_embedding", width),) if marked else ()),
        *((table,) if vision.flag("use_abs_posemb") else ()),
    )


def _block(vision: Config, width: int, mlp: int) -> tuple[Module, ...]:
    scaled = vision.data.get("ls_init_value") is not None
    return (
        stored_qkv("attn.qkv_proj", width, inputs=width),
        Linear("attn.out_proj", width, width, Split.INPUTS, bias=True),
        *(tuple(Vector(f"ls_{index}.gamma", width) for index in (1, 2)) if scaled else ()),
        *layer_norms(width, "ln_1", "ln_2"),
        *two_layers("mlp.c_fc", "mlp.c_proj", width, mlp, width),
    )
