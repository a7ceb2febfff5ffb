"""Towers of models that read documents: DeepSeek-OCR, dots.ocr, PaddleOCR-VL.

vllm/model_executor/models/{deepseek_ocr,deepencoder,dots_ocr,paddleocr_vl}.py of 0.33.0.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.parts import norms
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.families.towers.parts import (
    below,
    blocks,
    convolution,
    heads_of,
    layer_norms,
    merged_patches,
    quantizer,
    replicated,
    stored_qkv,
    two_layers,
    unquantized,
)
from compiler.checkpoints.families.towers.patches import Patches, clip_layers, siglip_layers, suits_siglip

# SAM's ViT-B at 1024 pixels and CLIP's ViT-L/14 at 224, whatever the config says.
_SAM, _SAM_LAYERS, _SAM_HEAD, _SAM_NECK = 768, 12, 64, 256
_SAM_GRID, _SAM_WINDOW, _SAM_GLOBAL = 64, 14, (2, 5, 8, 11)
_SAM_LEVELS = (512, 1024)
_CLIP = Config(
    {
        "hidden_size": 1024,
        "image_size": 224,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    }
)
# An image of 1024 pixels with rows of 16 tokens, four tiles of 640 pixels, and their marks.
_DEEPSEEK_TOKENS = 16 * 17 + 20 * 21 + 1


def deepseek_ocr_tower(config: Config) -> Encoder:
    """SAM, which every rank holds whole, then CLIP over what it sees."""
    check_value(config, "tile_tag", ("2D",))
    projector = config.at("projector_config")
    check_value(projector, "token_pooling", (False,))
    inputs, output = projector.positive("input_dim"), projector.positive("n_embed")
    if (kind := projector.text("projector_type")) != "linear":
        raise ConfigError(f"`{projector.path}projector_type` must be linear, not {kind[:40]}")
    modules = (
        *unquantized(below("sam_model", module) for module in _sam()),
        *(below("vision_model", module) for module in clip_layers(_CLIP, blocks_at="transformer.layers")),
        *unquantized((Linear("projector.layers", output, inputs, Split.REPLICATED, bias=True),)),
    )
    # SAM sees 4096 patches of the image and 1600 of each tile.
    item = ItemSize((_DEEPSEEK_TOKENS, _DEEPSEEK_TOKENS), 16, "an image of 1024 pixels and four tiles of 640")
    return Encoder(modules, ("image",), 16, 1024, 4096, output, item)


def deepseek_ocr_marks(config: Config) -> tuple[Module, ...]:
    """What stands for the end of a row and between views."""
    output = config.at("projector_config").positive("n_embed")
    return (Vector("image_newline", output), Vector("view_seperator", output))


def _sam() -> tuple[Module, ...]:
    narrow = (_SAM_NECK, *_SAM_LEVELS)
    layers = (
        below(f"blocks.{index}", module) for index in range(_SAM_LAYERS) for module in _sam_block(index in _SAM_GLOBAL)
    )
    return (
        Vector("pos_embed", _SAM_GRID**2 * _SAM),
        *convolution("patch_embed.proj", _SAM, 3 * 16**2, bias=True),
        *layers,
        *convolution("neck.0", _SAM_NECK, _SAM, bias=False),
        *layer_norms(_SAM_NECK, "neck.1", "neck.3"),
        *convolution("neck.2", _SAM_NECK, 9 * _SAM_NECK, bias=False),
        *convolution("net_2", narrow[1], 9 * narrow[0], bias=False),
        *convolution("net_3", narrow[2], 9 * narrow[1], bias=False),
    )


def _sam_block(sees_all: bool) -> tuple[Module, ...]:  # noqa: FBT001
    positions = (2 * (_SAM_GRID if sees_all else _SAM_WINDOW) - 1) * _SAM_HEAD
    return (
        *layer_norms(_SAM, "norm1", "norm2"),
        Vector("attn.rel_pos_h", positions),
        Vector("attn.rel_pos_w", positions),
        *replicated((stored_qkv("attn.qkv", _SAM, inputs=_SAM),)),
        Linear("attn.proj", _SAM, _SAM, Split.REPLICATED, bias=True),
        *replicated(two_layers("mlp.lin1", "mlp.lin2", _SAM, 4 * _SAM, _SAM)),
    )


def dots_ocr_tower(config: Config) -> Encoder:
    """dots.ocr's: gated MLPs, norms without biases, a merger that no quantizer reaches."""
    vision = config.at("vision_config")
    width, mlp = vision.positive("embed_dim", default=1536), vision.positive("intermediate_size", default=4224)
    heads, output = (
        heads_of(vision, "num_attention_heads", width, 12),
        vision.positive("hidden_size", default=1536),
    )
    merge, bias = merged_patches(vision), vision.flag("use_bias")
    block = (
        *norms(width, "norm1", "norm2"),
        stored_qkv("attn.qkv", width, inputs=width, bias=bias),
        Linear("attn.proj", width, width, Split.INPUTS, bias),
        *(Linear(f"mlp.{name}", mlp, width, Split.OUTPUTS, bias, fused="mlp.fc13") for name in ("fc1", "fc3")),
        Linear("mlp.fc2", width, mlp, Split.INPUTS, bias),
    )
    pixels = vision.positive("num_channels", default=3) * vision.positive("patch_size", default=14) ** 2
    tower = (
        *convolution("patch_embed.patchifier.proj", width, pixels, bias=True),
        *norms(width, "patch_embed.patchifier.norm"),
        *blocks("blocks", vision.layers() if "num_hidden_layers" in vision else 42, block),
        *(norms(width, "post_trunk_norm") if vision.flag("post_norm", default=True) else ()),
        *layer_norms(width, "merger.ln_q"),
        *unquantized(two_layers("merger.mlp.0", "merger.mlp.2", merge * width, merge * width, output)),
    )
    named = tuple(below("vision_tower", module) for module in tower)
    item = ItemSize((1280, 14400), merge, "max_pixels, 28² × 1280 to 11289600")
    return Encoder(named, ("image",), heads, width, 2 * mlp, output, item)


def paddleocr_vl_tower(config: Config) -> Encoder:
    """PaddleOCR-VL's: SigLIP with rotary positions, and a projector that every rank holds whole."""
    vision, hidden = config.at("vision_config"), _hidden(config)
    check_activation(vision, PLAIN)
    size, merge = Patches(vision, image=384, patch=14, sizes=(1152, 4304, 27, 16)), merged_patches(vision)
    tower = siglip_layers(size, post_norm=True, is_mlp_quantized=suits_siglip(size, quantizer(config)))
    merged = size.width * merge
    whole = (
        *layer_norms(size.width, "pre_norm"),
        *unquantized(replicated(two_layers("linear_1", "linear_2", merged, merged, hidden))),
    )
    modules = (
        *(below("visual.vision_model", module) for module in tower),
        *(below("mlp_AR", module) for module in whole),
    )
    item = ItemSize((1280, 3600), merge, "max_pixels, 28² × 1280 to 2822400")
    return size.encoder(modules, hidden, item)


def _hidden(config: Config) -> int:
    return (config.at("text_config") if "text_config" in config else config).positive("hidden_size", default=1024)
