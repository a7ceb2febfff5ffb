"""ERNIE 4.5 VL: each layer holds experts for text and others for images, and a tower's patches are merged over frames.

vllm/model_executor/models/{ernie45_vl,ernie45_vl_moe}.py of 0.33.0. Its configuration class stands in the repositories
themselves, so keys without a default here have to be in config.json.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Encoder, Experts, ItemSize, Layer, Linear, Module, Split
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.experts.parts import LAYER_NORMS, Frame, routed, router, score_bias, two_kinds
from compiler.checkpoints.families.multimodal.composed import Renames, composed
from compiler.checkpoints.families.parts import attention, gated_mlp, norms
from compiler.checkpoints.families.terms import check_present
from compiler.checkpoints.families.towers.parts import (
    ALL_FRAMES,
    blocks,
    convolution,
    depth,
    heads_of,
    layer_norms,
    stored_qkv,
    two_layers,
    unquantized,
)

_NAMES: Renames = (
    ("model.resampler_model.", "resampler_model."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
# Of text and of images.
_KINDS = 2
# Tokens of the largest image, by the published files and by transformers' own default (`max_pixels` of 28 × 28 each).
_LEAST, _MOST = 6144, 6177


def ernie45_vl(name: str, config: Config) -> Architecture:
    """Ernie4_5_VLMoeForConditionalGeneration.

    Stages without an output head fail to tie it to their embeddings. Each layer makes a table of rotary positions.
    """
    check_activation(config, SILU)
    check_present(config, "im_patch_id", "tie_word_embeddings")
    frame, count = Frame.read(config, config.positive("intermediate_size"), ties=True), config.layers()
    bias, sparse = config.flag("use_bias"), _sparse(config, count)
    attended = (*frame.norms(*LAYER_NORMS), *attention(frame.heads, frame.hidden, qkv_bias=bias))
    cache = frame.heads.cache(None)
    mlp = gated_mlp(frame.width, frame.hidden, bias=bias)
    routes = _experts(config, frame) if any(sparse) else ()
    mixed, dense = Layer((*attended, *routes), (cache,)), Layer((*attended, *mlp), (cache,))
    alone = frame.architecture(name, config, two_kinds(sparse, mixed, dense))
    whole = composed(alone, (_tower(config, frame.hidden),), _NAMES)
    return replace(whole, pipelined=not alone.tie_word_embeddings, rotary=alone.rotary * count)


def _pair(config: Config, key: str) -> tuple[int, int]:
    """A number for text and one for images."""
    values = config.data.get(key)
    if not isinstance(values, list) or len(values) != _KINDS:
        raise ConfigError(f"`{config.path}{key}` must be two numbers, for text and for images")
    first, second = (Config({key: value}, config.path).count(key) for value in values)
    return first, second


def _sparse(config: Config, count: int) -> tuple[bool, ...]:
    starts, ends = _pair(config, "moe_layer_start_index"), _pair(config, "moe_layer_end_index")
    spans = [range(min(start, count), min(end + 1, count)) for start, end in zip(starts, ends, strict=True)]
    for start, end in zip(starts, ends, strict=True):
        if start > end:
            raise ConfigError(f"`{config.path}moe_layer_start_index` {start} is after moe_layer_end_index {end}")
    if spans[0] != spans[1]:
        raise UnsupportedArchitectureError("ERNIE 4.5 VL with experts for text and for images in different layers")
    step, used = config.positive("moe_layer_interval", default=1), config.flag("use_moe", default=True)
    return tuple(used and (index + 1) % step == 0 and index in spans[0] for index in range(count))


def _experts(config: Config, frame: Frame) -> tuple[Module, ...]:
    (count, seen), widths = _pair(config, "moe_num_experts"), _pair(config, "moe_intermediate_size")
    if count != seen:
        raise ConfigError(f"`{config.path}moe_num_experts` must be the same for text and for images")
    shared = config.count("moe_num_shared_experts", default=0)

    def pool(kind: str, width: int) -> Experts:
        name = f"mlp.{kind}_experts"
        return routed(config, count, width, top_k="moe_k", needs_rank_each=True, engine_name=name)

    return (
        score_bias("mlp.moe_statics.e_score_correction_bias", _KINDS * count),
        *(gated_mlp(widths[0] * shared, frame.hidden, name="mlp.shared_experts") if shared else ()),
        router("mlp.gate", count, frame.hidden, dtype="F32", quantized=True),
        router("mlp.gate_1", count, frame.hidden, dtype="F32", quantized=True),
        pool("text", widths[0]),
        pool("vision", widths[1]),
    )


def _tower(config: Config, hidden: int) -> Encoder:
    vision = config.at("vision_config")
    width, mlp = vision.positive("embed_dim"), vision.positive("embed_dim") * vision.positive("mlp_ratio")
    if vision.positive("hidden_size") != width:
        raise ConfigError(f"`{vision.path}hidden_size` must be embed_dim, {width}")
    heads, channels = heads_of(vision, "num_heads", width, 16), vision.positive("in_channels")
    block = (
        *layer_norms(width, "norm1", "norm2"),
        stored_qkv("attn.qkv", width, inputs=width),
        Linear("attn.proj", width, width, Split.INPUTS, bias=True),
        *two_layers("mlp.fc1", "mlp.fc2", width, mlp, width),
    )
    pixels = channels * vision.positive("patch_size") ** 2
    modules = (
        *convolution("vision_model.patch_embed.proj", width, pixels, bias=False),
        *blocks("vision_model.blocks", depth(vision, "depth", 32), block),
        *layer_norms(width, "vision_model.ln"),
        *unquantized(_resampler(config, hidden)),
    )
    # Of videos, patches of `temporal_conv_size` frames become one token.
    patches = config.positive("spatial_conv_size") ** 2 * config.positive("temporal_conv_size")
    item = ItemSize((_LEAST, _MOST), patches, "max_pixels of its processor", groups=ALL_FRAMES)
    return Encoder(modules, ("image", "video"), heads, width, mlp, hidden, item, rotates=True)


def _resampler(config: Config, hidden: int) -> tuple[Module, ...]:
    """Which merges patches of a square, then those of frames; split by outputs, and named as files name it."""
    merged = config.positive("pixel_hidden_size") * config.positive("spatial_conv_size") ** 2
    path, timed = "resampler_model", config.flag("use_temporal_conv", default=True)

    def stage(kind: str, inputs: int) -> tuple[Module, ...]:
        return (
            Linear(f"{path}.{kind}_linear.0", merged, inputs, Split.OUTPUTS, bias=True),
            Linear(f"{path}.{kind}_linear.2", merged, merged, Split.OUTPUTS, bias=True),
            *layer_norms(merged, f"{path}.{kind}_linear.3"),
        )

    return (
        *stage("spatial", merged),
        *(stage("temporal", merged * config.positive("temporal_conv_size")) if timed else ()),
        Linear(f"{path}.mlp", hidden, merged, Split.OUTPUTS, bias=True),
        *norms(hidden, f"{path}.after_norm"),
    )
