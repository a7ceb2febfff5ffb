"""Ovis 2.5: a SigLIP 2 tower whose patches become shares of a vocabulary of their own, and that a table of embeddings.

vllm/model_executor/models/{ovis2_5,siglip2navit}.py of 0.33.0. Its configuration class stands in the repositories
themselves, so keys without a default here have to be in config.json.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture, Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.multimodal.composed import composed, text_model
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.families.towers.parts import (
    ALL_FRAMES,
    below,
    blocks,
    convolution,
    depth,
    grid_of,
    heads_of,
    layer_norms,
    separate_qkv,
    two_layers,
)

# Marks around images and videos, which the vocabulary has beside what the tower tells apart (ovis.py: INDICATOR_IDS).
_MARKS = 4
# Pixels along a side of the largest image (Ovis2_5ProcessingInfo.get_image_size_with_most_features).
_LARGEST = 1792
_MOST_TABLE = 1024


def ovis2_5(name: str, config: Config) -> Architecture:
    """Ovis2_5; the top of the file decides about tied embeddings where it says anything."""
    tied = config.flag("tie_word_embeddings", default=config.at("llm_config").flag("tie_word_embeddings"))
    reader, text = text_model(config, "llm_config", "qwen3", tied=tied)
    return composed(reader(name, text), (_tower(config),), (), under="llm")


def _tower(config: Config) -> Encoder:
    vision, hidden = config.at("vit_config"), config.positive("hidden_size")
    check_activation(vision, PLAIN)
    check_value(vision, "model_type", ("siglip2_navit",))
    width, mlp = vision.positive("hidden_size"), vision.positive("intermediate_size")
    heads, merged = heads_of(vision, "num_attention_heads", width, 16), vision.positive("hidden_stride") ** 2
    words = config.positive("visual_vocab_size")
    if words <= _MARKS:
        raise ConfigError(f"`{config.path}visual_vocab_size` {words} leaves none beside {_MARKS} marks")
    block = (
        *layer_norms(width, "layer_norm1", "layer_norm2"),
        *separate_qkv("self_attn", width, inputs=width, bias=True),
        Linear("self_attn.out_proj", width, width, Split.INPUTS, bias=True),
        *two_layers("mlp.fc1", "mlp.fc2", width, mlp, width),
    )
    inner = (
        *_embeddings(vision, width),
        *blocks("encoder.layers", depth(vision, "num_hidden_layers", 27), block),
        *layer_norms(width, "post_layernorm"),
    )
    modules = (
        *(below("visual_tokenizer.vit.vision_model", module) for module in inner),
        Linear("visual_tokenizer.head.0", words - _MARKS, width * merged, Split.REPLICATED, quantized=False),
        *layer_norms(words - _MARKS, "visual_tokenizer.head.1"),
        Vector("vte.weight", words * hidden),
    )
    # The engine counts a token for each patch when it asks how many frames a video may have.
    patches = (_LARGEST // vision.positive("patch_size")) ** 2
    tokens = max(1, patches // merged)
    item = ItemSize((tokens, tokens + _MARKS), merged, "1792 × 1792 pixels", groups=ALL_FRAMES, counted=max(1, patches))
    # Every rank holds shares of the whole vocabulary for each token: logits, in float32 beside them, and rounded.
    widest = max(mlp, 2 * words // merged)
    return Encoder(modules, ("image", "video"), heads, width, widest, hidden, item, split=False, rotates=True)


def _embeddings(vision: Config, width: int) -> tuple[Module, ...]:
    """A convolution, or a projection where `num_patches` says how many there are."""
    pixels = vision.positive("num_channels", default=3) * vision.positive("patch_size") ** 2
    counted = vision.data.get("num_patches", -1)
    if not isinstance(counted, int) or isinstance(counted, bool) or counted > _MOST_TABLE**2:
        raise ConfigError(f"`{vision.path}num_patches` must be a whole number, not {str(counted)[:40]}")
    positions = counted if counted > 0 else grid_of(vision, 512, 16) ** 2
    kept = vision.flag("preserve_original_pe", default=True)
    return (
        *convolution("embeddings.patch_embedding", width, pixels, bias=True),
        *((Vector("embeddings.position_embedding.weight", positions * width),) if kept else ()),
    )
