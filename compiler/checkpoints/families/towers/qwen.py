"""Towers of the Qwen vision models.

vllm/model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl,qwen3_5}.py of 0.33.0; defaults are those of transformers'
configuration classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, kv_heads_of
from compiler.checkpoints.families.activations import GATED, PLAIN, SILU, check_activation
from compiler.checkpoints.families.decoder import projections
from compiler.checkpoints.families.parts import Heads, norms
from compiler.checkpoints.families.towers.parts import (
    below,
    blocks,
    convolution,
    depth,
    heads_of,
    layer_norms,
    merged_patches,
    stored_qkv,
    two_layers,
)

_MEDIA = ("image", "video")

_PIXELS = "patch_embed.proj"


def qwen2_vl_tower(config: Config) -> Encoder:
    """Qwen2-VL's; the projector always merges 2 × 2 patches."""
    vision = config.at("vision_config")
    width, output = vision.positive("embed_dim", default=1280), vision.positive("hidden_size", default=3584)
    mlp, merged = width * vision.positive("mlp_ratio", default=4), 4 * width
    block = (
        *layer_norms(width, "norm1", "norm2"),
        stored_qkv("attn.qkv", width, inputs=width, parts=1),
        Linear("attn.proj", width, width, Split.INPUTS, bias=True),
        *two_layers("mlp.fc1", "mlp.fc2", width, mlp, width),
    )
    modules = (
        *_patches(vision, width, patch=14, bias=False),
        *blocks("blocks", depth(vision, "depth", 32), block),
        *layer_norms(width, "merger.ln_q"),
        *two_layers("merger.mlp.0", "merger.mlp.2", merged, merged, output),
    )
    heads = heads_of(vision, "num_heads", width, 16)
    return _encoder(modules, heads, (width, mlp, output), _old_item(vision))


def qwen2_5_vl_tower(config: Config) -> Encoder:
    """Qwen2.5-VL's: gated MLPs, norms without biases."""
    width = config.at("vision_config").positive("hidden_size", default=3584)
    return _qwen2_5(config, (stored_qkv("attn.qkv", width, inputs=width),))


def exaone4_5_tower(config: Config) -> Encoder:
    """EXAONE 4.5's: that of Qwen2.5-VL with fewer heads of keys and values."""
    vision = config.at("vision_config")
    width = vision.positive("hidden_size", default=3584)
    heads = heads_of(vision, "num_heads", width, 16)
    check_activation(vision, SILU)
    few = kv_heads_of(Config({"num_key_value_heads": vision.positive("num_key_value_heads", default=8)}), heads)
    query, *others, _ = projections(
        Heads(heads, few, width // heads), width, "attn.qkv", "attn.proj", qkv_bias=True, out_bias=True
    )
    return _qwen2_5(config, (query, *others))


def _qwen2_5(config: Config, qkv: tuple[Module, ...]) -> Encoder:
    vision = config.at("vision_config")
    check_activation(vision, GATED)
    width, output = vision.positive("hidden_size", default=3584), vision.positive("out_hidden_size", default=3584)
    mlp = vision.positive("intermediate_size", default=3420)
    merged = width * vision.positive("spatial_merge_size", default=2) ** 2
    gates = tuple(
        Linear(f"mlp.{name}_proj", mlp, width, Split.OUTPUTS, bias=True, fused="mlp.gate_up_proj")
        for name in ("gate", "up")
    )
    block = (
        *norms(width, "norm1", "norm2"),
        *qkv,
        Linear("attn.proj", width, width, Split.INPUTS, bias=True),
        *gates,
        Linear("mlp.down_proj", width, mlp, Split.INPUTS, bias=True),
    )
    modules = (
        *_patches(vision, width, patch=14, bias=False),
        *blocks("blocks", depth(vision, "depth", 32), block),
        *norms(width, "merger.ln_q"),
        *two_layers("merger.mlp.0", "merger.mlp.2", merged, merged, output),
    )
    heads = heads_of(vision, "num_heads", width, 16)
    return _encoder(modules, heads, (width, 2 * mlp, output), _old_item(vision))


def qwen3_vl_tower(config: Config) -> Encoder:
    """Qwen3-VL's: features of some layers go into the decoder's first layers, each through a projector of its own."""
    return _qwen3(config, qwen3_vl_levels(config))


def qwen3_vl_levels(config: Config) -> int:
    """Layers of the tower whose features the decoder's first layers get."""
    return _listed_levels(config.at("vision_config"), 3)


def qwen3_5_tower(config: Config) -> Encoder:
    """Qwen3.5's: the tower of Qwen3-VL with one projector, unless the config names levels."""
    return _qwen3(config, _listed_levels(config.at("vision_config"), 0), keeps_levels=False)


def qwen4_exp_tower(config: Config) -> Encoder:
    """Qwen4-Exp's: the same, and levels have buffers in the decoder."""
    return _qwen3(config, _listed_levels(config.at("vision_config"), 0))


@dataclass(frozen=True, slots=True)
class _Mergers:
    """Names of what merges patches and projects them."""

    merger: str = "merger"
    levels: str = "deepstack_merger_list"
    norm: str = "norm"
    first: str = "linear_fc1"
    second: str = "linear_fc2"


_VL_MERGERS = _Mergers()
_OMNI_MERGERS = _Mergers(levels="merger_list", norm="ln_q", first="mlp.0", second="mlp.2")


def qwen3_omni_tower(config: Config) -> Encoder:
    """Qwen3-Omni's: that of Qwen3-VL by other names, with as many positions as an image has patches."""
    vision = config.at("vision_config")
    grid = vision.positive("image_size") // vision.positive("patch_size", default=16)
    placed = {**vision.data, "num_position_embeddings": max(1, grid) ** 2}
    whole = Config({**config.data, "vision_config": placed}, config.path)
    return _qwen3(whole, _listed_levels(vision, 3), names=_OMNI_MERGERS)


def _qwen3(config: Config, levels: int, *, keeps_levels: bool = True, names: _Mergers = _VL_MERGERS) -> Encoder:
    vision = config.at("vision_config")
    check_activation(vision, PLAIN)
    width, output = vision.positive("hidden_size", default=1152), vision.positive("out_hidden_size", default=3584)
    mlp = vision.positive("intermediate_size", default=4304)
    merged = width * vision.positive("spatial_merge_size", default=2) ** 2
    block = (
        *layer_norms(width, "norm1", "norm2"),
        stored_qkv("attn.qkv", width, inputs=width),
        Linear("attn.proj", width, width, Split.INPUTS, bias=True),
        *two_layers("mlp.linear_fc1", "mlp.linear_fc2", width, mlp, width),
    )
    projector = two_layers(names.first, names.second, merged, merged, output)
    modules = (
        *_patches(vision, width, patch=16, bias=True),
        *norms(vision.positive("num_position_embeddings", default=2304) * width, "pos_embed"),
        *(below(names.merger, module) for module in (*layer_norms(width, names.norm), *projector)),
        *blocks(names.levels, levels, (*layer_norms(merged, names.norm), *projector)),
        *blocks("blocks", depth(vision, "depth", 27), block),
    )
    heads = heads_of(vision, "num_heads", width, 16)
    # The decoder's buffers hold the levels for a whole batch (qwen3_vl.py:deepstack_input_embeds).
    kept = levels * config.at("text_config").positive("hidden_size", default=4096) if keeps_levels else 0
    return _encoder(modules, heads, (width, mlp, output * (1 + levels)), _item(vision), kept)


def _listed_levels(vision: Config, default: int) -> int:
    return len(vision.items("deepstack_visual_indexes")) if "deepstack_visual_indexes" in vision else default


def _patches(vision: Config, width: int, *, patch: int, bias: bool) -> tuple[Module, ...]:
    side, frames = vision.positive("patch_size", default=patch), vision.positive("temporal_patch_size", default=2)
    pixels = vision.positive("in_channels", default=3) * frames * side**2
    return convolution(_PIXELS, width, pixels, bias=bias)


def _encoder(
    modules: tuple[Module, ...], heads: int, widths: tuple[int, int, int], item: ItemSize, kept: int = 0
) -> Encoder:
    named = tuple(below("visual", module) for module in modules)
    hidden, intermediate, output = widths
    widths, pixels = (hidden, intermediate, output), _pixels(modules, hidden)
    return Encoder(named, _MEDIA, heads, *widths, item, batch_elements=kept, pixels=pixels, rotates=True)


def _pixels(modules: tuple[Module, ...], width: int) -> int:
    """That the convolution in front reads of a patch."""
    sizes = (module.size for module in modules if isinstance(module, Vector) and module.name == f"{_PIXELS}.weight")
    return next(sizes) // width


def _old_item(vision: Config) -> ItemSize:
    # transformers' default, and the preprocessor_config.json that Qwen publishes; a video has the size of an image for
    # every two frames, up to 14 of them and max_model_len tokens.
    return ItemSize((1280, 16384), merged_patches(vision), "max_pixels, 28² × 1280 to 28² × 16384", groups=7)


def _item(vision: Config) -> ItemSize:
    side = vision.positive("patch_size", default=16)
    merged = merged_patches(vision)
    low, high = (max(1, pixels // (side**2 * merged)) for pixels in (28**2 * 1280, 2**24))
    return ItemSize((low, high), merged, "longest_edge, 28² × 1280 to 4096² pixels")
