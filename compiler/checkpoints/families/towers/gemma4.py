"""Gemma 4's towers for images and sound, which every rank holds whole, and what Gemma 4 Unified has in their place.

vllm/model_executor/models/{gemma4_mm,gemma4_unified}.py of 0.33.0. Both towers are transformers' own (models/gemma4).
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.parts import norms
from compiler.checkpoints.families.towers.parts import (
    below,
    blocks,
    depth,
    heads_of,
    layer_norms,
    quantizer,
    unquantized,
)

_ALIGNMENT = 64
# A video has 32 frames of 70 tokens, with marks and a time stamp; the profile run takes the larger of it and an image.
_VIDEO_TOKENS = 32 * (70 + 2 + 6)
_SOUND = ItemSize((750, 750), 1, "audio_seq_length of Gemma4Processor")


def gemma4_towers(config: Config) -> tuple[Encoder, ...]:
    """The tower for images and video, and that for sound where the config has one."""
    audio = (_audio(config),) if "audio_config" in config else ()
    return (_vision(config), *audio)


def _vision(config: Config) -> Encoder:
    vision = config.at("vision_config")
    width, mlp = vision.positive("hidden_size", default=768), vision.positive("intermediate_size", default=3072)
    side, pool = vision.positive("patch_size", default=16), vision.positive("pooling_kernel_size", default=3)
    modules = (
        _whole("patch_embedder.input_proj", width, 3 * side**2),
        Vector(
            "patch_embedder.position_embedding_table",
            2 * vision.positive("position_embedding_size", default=10240) * width,
        ),
        *blocks("encoder.layers", depth(vision, "num_hidden_layers", 16), _vision_block(vision, width, mlp)),
    )
    tower = tuple(below("vision_tower", module) for module in modules)
    output = config.at("text_config").positive("hidden_size", default=2304)
    tokens = max(_VIDEO_TOKENS, vision.positive("default_output_length", default=280))
    item = ItemSize((tokens, tokens), pool**2, "gemma4_mm.py: 32 frames of 78 tokens, or default_output_length")
    built = _quantized(config, (*tower, _whole("embed_vision.embedding_projection", output, width)), width, mlp)
    return Encoder(built, ("image", "video"), None, width, 2 * mlp, output, item, split=False)


def gemma4_unified_embedders(config: Config) -> tuple[Encoder, ...]:
    """Pixels and samples of sound are projected without a tower."""
    vision, output = config.at("vision_config"), config.at("text_config").positive("hidden_size", default=2304)
    side = vision.positive("patch_size", default=16) * vision.positive("pooling_kernel_size", default=3)
    width, pixels = vision.positive("mm_embed_dim", default=3840), 3 * side**2
    inner = vision.positive("output_proj_dims", default=3840)
    modules = (
        *layer_norms(pixels, "vision_embedder.patch_ln1"),
        Linear("vision_embedder.patch_dense", width, pixels, Split.OUTPUTS, bias=True),
        *layer_norms(width, "vision_embedder.patch_ln2", "vision_embedder.pos_norm"),
        Vector("vision_embedder.pos_embedding", 2 * vision.positive("mm_posemb_size", default=1120) * width),
        *unquantized((_whole("embed_vision.embedding_projection", output, inner),)),
    )
    tokens = max(_VIDEO_TOKENS, vision.positive("num_soft_tokens", default=280))
    item = ItemSize((tokens, tokens), 1, "gemma4_unified.py: 32 frames of 78 tokens, or num_soft_tokens")
    images = Encoder(modules, ("image", "video"), None, width, pixels, output, item, split=False)
    return (images, _samples(config.at("audio_config"), output)) if "audio_config" in config else (images,)


def _samples(audio: Config, output: int) -> Encoder:
    width = audio.positive("audio_embed_dim", "hidden_size", default=640)
    modules = unquantized((_whole("embed_audio.embedding_projection", output, width),))
    return Encoder(modules, ("audio",), None, width, output, output, _SOUND, split=False)


def _vision_block(vision: Config, width: int, mlp: int) -> tuple[Module, ...]:
    heads = vision.positive("num_attention_heads", default=12)
    kv, dim = vision.positive("num_key_value_heads", default=12), vision.positive("head_dim", default=64)
    return (
        _whole("self_attn.q_proj.linear", heads * dim, width),
        _whole("self_attn.k_proj.linear", kv * dim, width),
        _whole("self_attn.v_proj.linear", kv * dim, width),
        _whole("self_attn.o_proj.linear", width, heads * dim),
        *norms(dim, "self_attn.q_norm", "self_attn.k_norm"),
        *(_whole(f"mlp.{name}_proj.linear", mlp, width) for name in ("gate", "up")),
        _whole("mlp.down_proj.linear", width, mlp),
        *norms(width, "input_layernorm", "post_attention_layernorm"),
        *norms(width, "pre_feedforward_layernorm", "post_feedforward_layernorm"),
    )


def _audio(config: Config) -> Encoder:
    audio = config.at("audio_config")
    width, first, second = audio.positive("hidden_size", default=1024), *_channels(audio)
    inner, output = audio.positive("output_proj_dims", default=1536), config.at("text_config").positive("hidden_size")
    layers = "subsample_conv_projection.layer"
    modules = (
        Vector(f"{layers}0.conv.weight", 9 * first),
        Vector(f"{layers}0.norm.weight", first),
        Vector(f"{layers}1.conv.weight", 9 * first * second),
        Vector(f"{layers}1.norm.weight", second),
        _whole("subsample_conv_projection.input_proj_linear", width, first // 4 * second),
        *blocks("layers", depth(audio, "num_hidden_layers", 12), _audio_block(audio, width)),
        Linear("output_proj", inner, width, Split.REPLICATED, bias=True),
    )
    tower = tuple(below("audio_tower", module) for module in modules)
    built = _quantized(config, (*tower, _whole("embed_audio.embedding_projection", output, inner)), width, _ALIGNMENT)
    return Encoder(built, ("audio",), None, width, 4 * width, output, _SOUND, split=False)


def _audio_block(audio: Config, width: int) -> tuple[Module, ...]:
    heads = heads_of(audio, "num_attention_heads", width, 8)
    feeds = (
        module
        for name in ("feed_forward1", "feed_forward2")
        for module in (
            _whole(f"{name}.ffw_layer_1.linear", 4 * width, width),
            _whole(f"{name}.ffw_layer_2.linear", width, 4 * width),
            *norms(width, f"{name}.pre_layer_norm", f"{name}.post_layer_norm"),
        )
    )
    return (
        *feeds,
        *(_whole(f"self_attn.{part}.linear", width, width) for part in ("q_proj", "k_proj", "v_proj", "post")),
        _whole("self_attn.relative_k_proj", width, width),
        Vector("self_attn.per_dim_scale", width // heads),
        _whole("lconv1d.linear_start.linear", 2 * width, width),
        _whole("lconv1d.linear_end.linear", width, width),
        Vector("lconv1d.depthwise_conv1d.weight", audio.positive("conv_kernel_size", default=5) * width),
        *norms(width, "lconv1d.pre_layer_norm", "lconv1d.conv_norm"),
        *norms(width, "norm_pre_attn", "norm_post_attn", "norm_out"),
    )


def _channels(audio: Config) -> tuple[int, int]:
    channels = audio.items("subsampling_conv_channels") or (128, 32)
    if len(channels) != 2 or not all(isinstance(size, int) and 0 < size < 2**16 for size in channels):  # noqa: PLR2004
        raise ConfigError(f"`{audio.path}subsampling_conv_channels` must be two positive numbers")
    return channels[0], channels[1]


def _whole(name: str, outputs: int, inputs: int) -> Linear:
    return Linear(name, outputs, inputs, Split.REPLICATED)


def _quantized(config: Config, modules: tuple[Module, ...], width: int, mlp: int) -> tuple[Module, ...]:
    """Most quantizers are kept from a tower whose widths are no multiples of 64 (_get_tower_quant_config)."""
    suited = width % _ALIGNMENT == 0 and mlp % _ALIGNMENT == 0
    free = quantizer(config) in ("bitsandbytes", "torchao", "compressed-tensors")
    return modules if suited or free else unquantized(modules)
