"""Towers of GLM-4.1V, 4.5V, 4.6V and GLM-OCR.

vllm/model_executor/models/{glm4_1v,glm_ocr}.py of 0.33.0; defaults are those of transformers' configuration classes.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.parts import gated_mlp, norms
from compiler.checkpoints.families.towers.parts import (
    below,
    blocks,
    convolution,
    depth,
    grid_of,
    heads_of,
    layer_norms,
    merged_patches,
    stored_qkv,
)

# Pixels of an image of two frames: published, and transformers' default. Of a video: published.
_IMAGE_PIXELS = (9633792, 28**2 * 15000)
_VIDEO_PIXELS = 47040000
# Marks and time of each of 320 pairs of frames, and the marks around a video (Glm4vProcessingInfo).
_VIDEO_MARKS = 320 * (2 + 6) + 2


def glm4v_tower(config: Config) -> Encoder:
    """GLM-4.1V's and GLM-4.5V's: learned positions, MLPs as wide as the output."""
    vision = config.at("vision_config")
    width, output = vision.positive("hidden_size", default=1536), vision.positive("out_hidden_size", default=4096)
    inner = vision.positive("intermediate_size", default=13696)
    block = _block(width, output, bias=False)
    around = (
        Vector("embeddings.position_embedding.weight", grid_of(vision, 336, 14) ** 2 * width),
        *norms(width, "post_conv_layernorm"),
    )
    return _tower(
        config, (*around, *blocks("blocks", depth(vision, "depth", 24), block)), (width, output, output), inner
    )


def glm_ocr_tower(config: Config) -> Encoder:
    """GLM-OCR's: heads are normalised; the merger is as wide as the language model's MLPs."""
    vision, text = config.at("vision_config"), config.at("text_config")
    width, mlp = vision.positive("hidden_size", default=1024), vision.positive("intermediate_size", default=4096)
    heads, output = heads_of(vision, "num_heads", width, 16), vision.positive("out_hidden_size", default=1536)
    block = (*norms(width // heads, "attn.q_norm", "attn.k_norm"), *_block(width, mlp, bias=True))
    built = blocks("blocks", depth(vision, "depth", 24), block)
    return _tower(config, built, (width, mlp, output), text.positive("intermediate_size", default=4096))


def _block(width: int, mlp: int, *, bias: bool) -> tuple[Module, ...]:
    return (
        *norms(width, "norm1", "norm2"),
        stored_qkv("attn.qkv", width, inputs=width, bias=bias),
        Linear("attn.proj", width, width, Split.INPUTS, bias),
        *gated_mlp(mlp, width, bias=bias),
    )


def _tower(config: Config, built: tuple[Module, ...], widths: tuple[int, int, int], inner: int) -> Encoder:
    """With what stands around the blocks.

    Args:
        widths: of the hidden states, of the MLPs and of the output.
        inner: width of the merger's MLP.
    """
    vision, (width, mlp, output) = config.at("vision_config"), widths
    side, frames = vision.positive("patch_size", default=14), vision.positive("temporal_patch_size", default=2)
    merge = merged_patches(vision)
    merger = (
        Linear("proj", output, output, Split.OUTPUTS),
        *layer_norms(output, "post_projection_norm"),
        Linear("gate_proj", inner, output, Split.OUTPUTS, fused="gate_up_proj"),
        Linear("up_proj", inner, output, Split.OUTPUTS, fused="gate_up_proj"),
        Linear("down_proj", output, inner, Split.INPUTS),
    )
    modules = (
        *convolution(
            "patch_embed.proj", width, vision.positive("in_channels", default=3) * frames * side**2, bias=True
        ),
        *built,
        *convolution("downsample", output, width * merge, bias=True),
        *norms(width, "post_layernorm"),
        *(below("merger", module) for module in merger),
    )
    cell = frames * side**2 * merge
    tokens = (max(1, _IMAGE_PIXELS[0] // cell), max(1, _IMAGE_PIXELS[1] // cell, _VIDEO_PIXELS // cell + _VIDEO_MARKS))
    item = ItemSize(tokens, merge, f"longest_edge: {_IMAGE_PIXELS[0]} pixels to a video of {_VIDEO_PIXELS}")
    named = tuple(below("visual", module) for module in modules)
    heads = heads_of(vision, "num_heads", width, 12)
    return Encoder(named, ("image", "video"), heads, width, 2 * mlp, output, item)
