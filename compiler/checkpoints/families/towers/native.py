"""Towers over images of any size with the models they belong to: Kimi, Muse Glimmer, MiniMax M3.

vllm/model_executor/models/{kimi_vl,moonvit,kimi_k25,kimi_k25_vit,muse_glimmer}.py and vllm/models/{kimi_k3,minimax_m3}
of 0.33.0; defaults are those of the configuration classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.parts import norms
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.families.towers.parts import (
    below,
    blocks,
    convolution,
    depth,
    heads_of,
    layer_norms,
    quantizer,
    replicated,
    separate_qkv,
    stored_qkv,
    two_layers,
    unquantized,
    whole_unless,
)


@dataclass(frozen=True, slots=True)
class _MoonViT:
    """What differs between the two Kimi towers.

    Attributes:
        plain_norms: RMS norms, without biases.
        attention: width of all heads.
        second_projector: `patchmergerv2`.
    """

    width: int
    mlp: int
    heads: int
    layers: int
    attention: int
    plain_norms: bool
    attention_bias: bool
    linear_bias: bool
    patch_bias: bool
    second_projector: bool


def kimi_k25_tower(config: Config) -> Encoder:
    """Kimi K2.5's; what the published configs call `vt_hidden_size` and so on is ignored (Kimi_K25VisionConfig)."""
    vision = config.at("vision_config")
    check_activation(vision, PLAIN, "activation_func" if "activation_func" in vision else "hidden_act")
    width = vision.positive("hidden_size", default=1152)
    mlp, heads = vision.positive("intermediate_size", default=4304), heads_of(vision, "num_attention_heads", width, 16)
    sizes = (width, mlp, heads, depth(vision, "num_hidden_layers", 27))
    # Images and chunks of videos are one kind to the engine, and limits of either say nothing of it.
    return replace(_moonvit(config, _options(vision, sizes, newer=False)), modalities=("vision_chunk",))


def kimi_k3_tower(config: Config) -> Encoder:
    """Kimi K3's (KimiK3VisionConfig)."""
    vision = config.at("vision_config")
    width, mlp = vision.positive("vt_hidden_size", default=1024), vision.positive("vt_intermediate_size", default=4096)
    heads = vision.positive("vt_num_attention_heads", default=12)
    sizes = (width, mlp, heads, depth(vision, "vt_num_hidden_layers", 27))
    return replace(_moonvit(config, _options(vision, sizes, newer=True)), modalities=("image",))


def _options(vision: Config, sizes: tuple[int, int, int, int], *, newer: bool) -> _MoonViT:
    width, mlp, heads, layers = sizes
    check_value(vision, "pos_emb_type", ("divided_fixed",))
    check_value(vision, "mlp_type", ("mlp2",))
    check_value(vision, "video_attn_type", ("spatial_temporal",))
    check_value(vision, "merge_type", ("sd2_tpool",))
    attention = vision.positive("qkv_hidden_size", default=1536 if newer else width)
    norm = vision.text("norm_type", default="rmsnorm" if newer else "layernorm")
    projector = vision.text("mm_projector_type", default="patchmergerv2" if newer else "patchmerger")
    if norm not in ("layernorm", "rmsnorm"):
        raise ConfigError(f"`{vision.path}norm_type` must be layernorm or rmsnorm, not {norm[:40]}")
    if attention % heads or attention // heads % 4:
        raise ConfigError(f"`{vision.path}qkv_hidden_size` {attention} is not a multiple of 4 × the heads {heads}")
    return _MoonViT(
        width,
        mlp,
        heads,
        layers,
        attention,
        plain_norms=norm == "rmsnorm",
        attention_bias=vision.flag("attn_bias", default=not newer),
        linear_bias=vision.flag("linear_bias", default=not newer),
        patch_bias=vision.flag("patch_embed_proj_bias", default=not newer),
        second_projector=projector == "patchmergerv2",
    )


def _moonvit(config: Config, size: _MoonViT) -> Encoder:
    """Whole on every rank where ranks do not divide its heads; compressed-tensors leaves it alone."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size", default=7168)
    width, merge = size.width, _kernel(vision)
    tower = _moonvit_layers(vision, size, heads=size.heads)
    modules = (
        *(below("vision_tower", module) for module in tower),
        *(below("mm_projector", module) for module in _merger(size, width * merge, hidden)),
    )
    if quantizer(config) == "compressed-tensors":
        modules = unquantized(modules)
    # 16384 patches by the published processor; without its limit the profile run's image of 3000 × 3000 pixels.
    item = ItemSize((4096, 108**2), merge, "in_patch_limit 16384, or 3000 × 3000 pixels with no limit")
    return Encoder(modules, ("image", "video"), None, width, size.mlp, hidden, item)


def _moonvit_layers(vision: Config, size: _MoonViT, *, heads: int | None) -> tuple[Module, ...]:
    """Patches, positions and blocks.

    Args:
        heads: which the ranks must divide to divide the blocks; None where the engine refuses other ranks.
    """
    rows, columns, width = *(_positions(vision, side) for side in ("height", "width")), size.width
    normed = norms if size.plain_norms else layer_norms
    block = (
        *normed(width, "norm0", "norm1"),
        *two_layers("mlp.fc0", "mlp.fc1", width, size.mlp, width, bias=size.linear_bias),
        stored_qkv("wqkv", size.attention, inputs=width, bias=size.attention_bias),
        Linear("wo", width, size.attention, Split.INPUTS, size.attention_bias),
    )
    pixels = 3 * vision.positive("patch_size", default=14) ** 2
    return (
        *convolution("patch_embed.proj", width, pixels, bias=size.patch_bias),
        *norms(rows * columns * width, "patch_embed.pos_emb"),
        *blocks("encoder.blocks", size.layers, block if heads is None else whole_unless(heads, block)),
        *normed(width, "encoder.final_layernorm"),
    )


def _check_turned(vision: Config, width: int, heads: int) -> None:
    """Positions on two sides turn a head's dimensions in fours (moonvit.py:Rope2DPosEmb, muse_glimmer.py)."""
    if (each := width // heads) % 4:
        told = f"`{vision.path}num_attention_heads` {heads} makes heads {each} wide"
        raise ConfigError(f"{told}, which is no multiple of 4")


def kimi_vl_tower(config: Config) -> Encoder:
    """Kimi-VL's, which is built without the quantizer; ranks must divide its heads."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size")
    width, mlp = vision.positive("hidden_size", default=1152), vision.positive("intermediate_size", default=4304)
    heads, merge = heads_of(vision, "num_attention_heads", width, 16), _kernel(vision)
    _check_turned(vision, width, heads)
    layers = depth(vision, "num_hidden_layers", 27)
    size = _MoonViT(
        width,
        mlp,
        heads,
        layers,
        width,
        plain_norms=False,
        attention_bias=True,
        linear_bias=True,
        patch_bias=True,
        second_projector=False,
    )
    modules = (
        *(below("vision_tower", module) for module in _moonvit_layers(vision, size, heads=None)),
        *(below("multi_modal_projector", module) for module in _merger(size, width * merge, hidden)),
    )
    # The profile run's image of 1024 × 1024 pixels, with and without the published limit of 4096 patches.
    item = ItemSize((33**2, 37**2), merge, "in_token_limit 4096, or 1024 × 1024 pixels with no limit")
    return Encoder(unquantized(modules), ("image",), heads, width, mlp, hidden, item)


def _merger(size: _MoonViT, merged: int, hidden: int) -> tuple[Module, ...]:
    second = size.second_projector
    layers = replicated(two_layers("linear_1", "linear_2", merged, merged, hidden, bias=not second))
    return (*layers, *norms(hidden, "post_norm")) if second else (*layer_norms(size.width, "pre_norm"), *layers)


def _positions(vision: Config, side: str) -> int:
    return vision.positive(f"init_pos_emb_{side}", f"pos_emb_{side}", default=64)


def _kernel(vision: Config) -> int:
    kernel = vision.items("merge_kernel_size") or (2, 2)
    if len(kernel) != 2 or not all(isinstance(side, int) and 0 < side <= 64 for side in kernel):  # noqa: PLR2004
        raise ConfigError(f"`{vision.path}merge_kernel_size` must be two small positive numbers")
    return int(kernel[0] * kernel[1])


def muse_glimmer_tower(config: Config) -> Encoder:
    """Muse Glimmer's: only attention is split, nothing is quantized."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size")
    width, mlp = vision.positive("hidden_size", default=1536), vision.positive("intermediate_size", default=8960)
    merged, adapter = (
        config.positive("out_hidden_size", default=6144),
        config.positive("projector_hidden_size", default=4096),
    )
    merge, frames = vision.positive("merge_size", default=2), vision.positive("patch_temporal", default=2)
    if merged != width * merge**2:
        raise ConfigError(f"`{config.path}out_hidden_size` {merged} is not the tower's width {width} × {merge}²")
    heads = heads_of(vision, "num_attention_heads", width, 16)
    _check_turned(vision, width, heads)
    if "layer_types" in vision:
        vision.per_layer("layer_types", depth(vision, "num_hidden_layers", 50))
    positions = vision.positive("pos_emb_height", default=32) * vision.positive("pos_emb_width", default=32)
    attention = (
        *separate_qkv("attn", width, inputs=width, bias=True),
        Linear("attn.o_proj", width, width, Split.INPUTS, bias=True),
    )
    block = (
        *layer_norms(width, "ln_1", "ln_2"),
        *whole_unless(heads, attention),
        *replicated(two_layers("mlp.c_fc", "mlp.c_proj", width, mlp, width)),
    )
    pixels = frames * 3 * vision.positive("patch_size", default=14) ** 2
    modules = (
        Vector("vision_encoder.positional_embedding_vlm", positions * width),
        Linear("vision_encoder.conv1_linear", width, pixels, Split.REPLICATED),
        *layer_norms(width, "vision_encoder.ln_pre", "vision_encoder.ln_post"),
        *blocks("vision_encoder.transformer", depth(vision, "num_hidden_layers", 50), block),
        Linear("vision_adapter.c_fc", adapter, merged, Split.REPLICATED),
        Linear("vision_adapter.c_proj", adapter, adapter, Split.REPLICATED),
        Linear("vision_projection", hidden, adapter, Split.REPLICATED),
    )
    # An image has up to 4096 tokens, a video 48 pairs of frames of 144 (transformers' processors).
    item = ItemSize((4096, 48 * 144), merge**2, "max_image_tokens, num_frames and max_video_frame_tokens")
    return Encoder(unquantized(modules), ("image", "video"), None, width, mlp, hidden, item, split=False)


def minimax_m3_tower(config: Config) -> Encoder:
    """MiniMax M3's: projector and merger stand below the tower."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size")
    width, mlp = vision.positive("hidden_size"), vision.positive("intermediate_size")
    compression = vision.at("img_token_compression_config")
    merge = compression.positive("spatial_merge_size", default=2)
    frames, inner = (
        compression.positive("temporal_patch_size", default=2),
        config.positive("projector_hidden_size", default=hidden),
    )
    block = (
        *layer_norms(width, "layer_norm1", "layer_norm2"),
        *separate_qkv("self_attn", width, inputs=width, bias=True),
        Linear("self_attn.out_proj", width, width, Split.INPUTS, bias=True),
        *two_layers("fc1", "fc2", width, mlp, width),
    )
    pixels = vision.positive("num_channels", default=3) * frames * vision.positive("patch_size") ** 2
    tower = (
        *convolution("embeddings.patch_embedding", width, pixels, bias=False),
        *layer_norms(width, "pre_layrnorm"),
        *blocks("encoder.layers", vision.layers(), block),
    )
    projectors = (
        ("multi_modal_projector", width, vision.flag("multimodal_projector_bias", default=True)),
        ("patch_merge_mlp", hidden * merge**2, vision.flag("patch_merge_bias", default=True)),
    )
    modules = (
        *(below("vision_model", module) for module in tower),
        *(
            module
            for name, inputs, bias in projectors
            for module in two_layers(f"{name}.linear_1", f"{name}.linear_2", inputs, inner, hidden, bias=bias)
        ),
    )
    # An image of 672² pixels; a video has 500 frames, of 768 × 28² pixels each, as far as max_model_len allows.
    item = ItemSize((576, 768), merge**2, "max_pixels, 672² to 768 × 28²; _MAX_FRAMES_PER_VIDEO", groups=250)
    heads = heads_of(vision, "num_attention_heads", width, 16)
    named = tuple(below("vision_tower", module) for module in modules)
    return Encoder(named, ("image", "video"), heads, width, mlp, hidden, item)
