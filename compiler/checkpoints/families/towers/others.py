"""Towers of Llama 4, InternVL and Phi-3 Vision.

vllm/model_executor/models/{mllama4,internvl,intern_vit,phi3v}.py of 0.33.0; defaults are those of the configuration
classes.
"""

from __future__ import annotations

from collections.abc import Iterable

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.parts import norms
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
    replicated,
    separate_qkv,
    shuffle_of,
    stored_qkv,
    two_layers,
    unquantized,
    whole_unless,
)
from compiler.checkpoints.families.towers.patches import clip


def llama4_tower(config: Config) -> Encoder:
    """Llama 4's, which the engine builds without the quantizer; adapter and projector are split as well."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size", default=5120)
    width, mlp = vision.positive("hidden_size", default=768), vision.positive("intermediate_size", default=5632)
    inner, output = (vision.positive(f"projector_{end}_dim", default=4096) for end in ("input", "output"))
    bias, patches = vision.flag("multi_modal_projector_bias"), grid_of(vision, 448, 14) ** 2
    image, patch = vision.positive("image_size", default=448), vision.positive("patch_size", default=14)
    if image % patch:
        raise ConfigError(f"`{vision.path}image_size` {image} is not a multiple of patch_size {patch}")
    modules = (
        Vector("vision_model.class_embedding", width),
        Vector("vision_model.positional_embedding_vlm", (patches + 1) * width),
        _patch_projection("vision_model.patch_embedding.linear", vision, width),
        *layer_norms(width, "vision_model.layernorm_pre", "vision_model.layernorm_post"),
        *blocks("vision_model.model.layers", depth(vision, "num_hidden_layers", 34), _llama4_block(width, mlp)),
        *two_layers(
            "vision_model.vision_adapter.mlp.fc1",
            "vision_model.vision_adapter.mlp.fc2",
            mlp,
            inner,
            output,
            bias=bias,
        ),
        Linear(
            "multi_modal_projector.linear_1", hidden, vision.positive("vision_output_dim", default=7680), Split.OUTPUTS
        ),
    )
    # The processor cuts an image into up to 16 tiles (max_patches) and adds it whole; four patches become a token.
    item = ItemSize((-(-17 * patches // 4),) * 2, 4, "16 tiles and the whole, Llama4ImageProcessor")
    heads = heads_of(vision, "num_attention_heads", width, 16)
    return Encoder(unquantized(modules), ("image",), heads, width, mlp, hidden, item)


def _patch_projection(name: str, vision: Config, width: int) -> Linear:
    pixels = vision.positive("num_channels", default=3) * vision.positive("patch_size", default=14) ** 2
    return Linear(name, width, pixels, Split.OUTPUTS)


def _llama4_block(width: int, mlp: int) -> tuple[Module, ...]:
    return (
        *separate_qkv("self_attn", width, inputs=width, bias=True),
        Linear("self_attn.o_proj", width, width, Split.INPUTS, bias=True),
        *two_layers("mlp.fc1", "mlp.fc2", width, mlp, width),
        *layer_norms(width, "input_layernorm", "post_attention_layernorm"),
    )


def internvl_tower(config: Config) -> Encoder:
    """InternVLChatModel's, which reads videos too."""
    vision, hidden = config.at("vision_config"), config.at("llm_config").positive("hidden_size")
    shuffle = shuffle_of(config)
    modules = (*intern_vit(config, vision), *unquantized(intern_projector(config, vision, hidden)))
    tokens = tokens_of_tile(config, vision)
    item = ItemSize((tokens, tokens), shuffle**2, "frames of one tile, as max_model_len allows", groups=ALL_FRAMES)
    width, mlp = vision.positive("hidden_size"), vision.positive("intermediate_size")
    return Encoder(modules, ("image", "video"), None, width, mlp, hidden, item)


def intern_vit(config: Config, vision: Config) -> tuple[Module, ...]:
    """InternViT: attention stays whole where ranks do not divide its heads, MLPs do not.

    Args:
        config: the file, whose `select_layer` is the last layer that is built.
        vision: keys of the tower.
    """
    check_activation(vision, PLAIN)
    width, mlp = vision.positive("hidden_size"), vision.positive("intermediate_size")
    heads, count = heads_of(vision, "num_attention_heads", width, 25), vision.layers()
    layer = config.data.get("select_layer", -1)
    if not isinstance(layer, int) or isinstance(layer, bool) or not -count <= layer < count:
        raise ConfigError(f"`{config.path}select_layer` must be a layer of the tower, not {str(layer)[:40]}")
    return (
        Vector("vision_model.embeddings.class_embedding", width),
        *convolution(
            "vision_model.embeddings.patch_embedding",
            width,
            3 * vision.positive("patch_size", default=14) ** 2,
            bias=True,
        ),
        Vector("vision_model.embeddings.position_embedding", (grid_of(vision, 224, 14) ** 2 + 1) * width),
        *blocks("vision_model.encoder.layers", layer % count + 1, _internvl_block(vision, width, mlp, heads)),
    )


def intern_projector(config: Config, vision: Config, hidden: int) -> tuple[Module, ...]:
    """A norm over merged patches and two layers, which every rank holds whole."""
    merged = vision.positive("hidden_size") * shuffle_of(config) ** 2
    return (*layer_norms(merged, "mlp1.0"), *replicated(two_layers("mlp1.1", "mlp1.3", merged, hidden, hidden)))


def tokens_of_tile(config: Config, vision: Config) -> int:
    """Tokens of one square that an image is cut into."""
    image = config.positive("force_image_size", default=vision.positive("image_size", default=224))
    return max(1, (image // vision.positive("patch_size", default=14)) ** 2 // shuffle_of(config) ** 2)


def _internvl_block(vision: Config, width: int, mlp: int, heads: int) -> Iterable[Module]:
    plain = vision.text("norm_type", default="rms_norm") == "rms_norm"
    attention = (
        stored_qkv("attn.qkv", width, inputs=width, bias=vision.flag("qkv_bias")),
        Linear("attn.proj", width, width, Split.INPUTS, bias=True),
    )
    normed = vision.flag("qk_normalization", default=True)
    return (
        *whole_unless(heads, attention),
        *(norms(width, "attn.q_norm", "attn.k_norm") if normed else ()),
        *two_layers("mlp.fc1", "mlp.fc2", width, mlp, width),
        *(norms(width, "norm1", "norm2") if plain else layer_norms(width, "norm1", "norm2")),
        Vector("ls1", width),
        Vector("ls2", width),
    )


_CLIP_LARGE = Config(
    {
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    }
)


def phi3_vision_tower(config: Config) -> Encoder:
    """CLIP ViT-L/14 at 336 pixels, whatever the config says, beside a second table of the vocabulary."""
    hidden, image = config.positive("hidden_size"), config.at("img_processor")
    layer, width = image.data.get("layer_idx", -2), 4 * image.positive("image_dim_out")
    _check_phi3_crops(config.at("embd_layer"))
    if not isinstance(layer, int) or isinstance(layer, bool) or not -_CLIP_LAYERS <= layer < _CLIP_LAYERS:
        raise ConfigError(f"`{image.path}layer_idx` must be a layer of the tower, not {str(layer)[:40]}")
    built = layer % _CLIP_LAYERS + 1
    tower = clip(_CLIP_LARGE, built, post_norm=built == _CLIP_LAYERS)
    projection = two_layers("img_projection.0", "img_projection.2", width, hidden, hidden)
    modules = (
        *(below("vision_embed_tokens.img_processor", module) for module in tower),
        Vector("vision_embed_tokens.glb_GN", width),
        Vector("vision_embed_tokens.sub_GN", width),
        *(below("vision_embed_tokens", module) for module in unquantized(replicated(projection))),
        Table("embed_tokens", config.positive("vocab_size"), hidden),
    )
    # An image of 16 crops in a row, by the published processor; 4 by transformers' default.
    item = ItemSize((_phi3_tokens(4), _phi3_tokens(16)), 4, "num_crops, 4 to 16")
    return Encoder(modules, ("image",), 16, 1024, 4096, hidden, item)


def _check_phi3_crops(layer: Config) -> None:
    """phi3v.py:Phi3HDImageEmbedding."""
    check_value(layer, "use_hd_transform", (True,), default=False)
    check_value(layer, "with_learnable_separator", (True,), default=False)
    check_value(layer, "hd_transform_order", ("sub_glb",), default="glb_sub")


_CLIP_LAYERS = 24


def _phi3_tokens(crops: int) -> int:
    """Tokens of one column of crops, as Phi-3's processor counts them."""
    return (crops + 1) * 144 + 1 + (crops + 1) * 12
