"""InternVL's tower as transformers names it, with attention that every rank holds whole.

vllm/model_executor/models/{interns1,interns1_vit}.py of 0.33.0; defaults are those of transformers' InternVLConfig.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.parts import norms
from compiler.checkpoints.families.towers.parts import (
    ALL_FRAMES,
    below,
    blocks,
    convolution,
    depth,
    heads_of,
    layer_norms,
    shuffle_of,
    two_layers,
    unquantized,
)


def internvl_tower(config: Config) -> Encoder:
    """InternVLForConditionalGeneration's; no quantizer reaches tower or projector."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size", default=4096)
    check_activation(vision, PLAIN)
    width, mlp = vision.positive("hidden_size", default=1024), vision.positive("intermediate_size", default=4096)
    shuffle, (patch, tile) = shuffle_of(config), (_side(vision, "patch_size", 14), _side(vision, "image_size", 448))
    if tile < patch:
        raise ConfigError(f"`{vision.path}image_size` {tile} is less than patch_size {patch}")
    grid, merged = tile // patch, width * shuffle**2
    whole = (
        Linear("linear_1", hidden, merged, Split.REPLICATED, bias=True),
        Linear("linear_2", hidden, hidden, Split.REPLICATED, bias=True),
    )
    tower = (
        *_embeddings(vision, width, patch, grid),
        *blocks("encoder.layer", depth(vision, "num_hidden_layers", 24), _block(vision, width, mlp)),
        *(() if vision.flag("use_mean_pooling", default=True) else layer_norms(width, "layernorm")),
    )
    modules = (
        *(below("vision_tower", module) for module in tower),
        *(below("multi_modal_projector", module) for module in (*layer_norms(merged, "layer_norm"), *whole)),
    )
    tokens = max(1, grid**2 // shuffle**2)
    item = ItemSize((tokens, tokens), shuffle**2, "frames of one tile, as max_model_len allows", groups=ALL_FRAMES)
    return Encoder(unquantized(modules), ("image", "video"), None, width, mlp, hidden, item)


def _embeddings(vision: Config, width: int, patch: int, grid: int) -> tuple[Module, ...]:
    positioned = vision.flag("use_absolute_position_embeddings", default=True)
    return (
        Vector("embeddings.cls_token", width),
        *((Vector("embeddings.mask_token", width),) if vision.flag("use_mask_token") else ()),
        *((Vector("embeddings.position_embeddings", (grid**2 + 1) * width),) if positioned else ()),
        *convolution(
            "embeddings.patch_embeddings.projection",
            width,
            vision.positive("num_channels", default=3) * patch**2,
            bias=True,
        ),
    )


def _block(vision: Config, width: int, mlp: int) -> tuple[Module, ...]:
    heads_of(vision, "num_attention_heads", width, 16)
    bias, plain = vision.flag("attention_bias"), vision.text("norm_type", default="layer_norm") == "rms_norm"
    normed = norms if plain else layer_norms
    return (
        *(Linear(f"attention.{part}_proj", width, width, Split.REPLICATED, bias) for part in "qkv"),
        *(norms(width, "attention.q_norm", "attention.k_norm") if vision.flag("use_qk_norm") else ()),
        Linear("attention.projection_layer", width, width, Split.REPLICATED, bias=True),
        *two_layers("mlp.fc1", "mlp.fc2", width, mlp, width),
        *normed(width, "layernorm_before", "layernorm_after"),
        Vector("lambda_1", width),
        Vector("lambda_2", width),
    )


def _side(vision: Config, key: str, default: int) -> int:
    """A size that configs give as a number, or once for each side."""
    value = vision.data.get(key)
    first = value[0] if isinstance(value, list) and value else value
    return Config({key: first}, vision.path).positive(key, default=default)
