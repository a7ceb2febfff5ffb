"""Towers that see an image in tiles of one size: Llava-NeXT, Llava-OneVision, Granite 4 Vision, Idefics 3, SmolVLM.

vllm/model_executor/models/{llava_next,llava_onevision,granite4_vision,idefics3,smolvlm,idefics2_vision_model,blip2}.py
of 0.33.0; defaults are those of transformers' configuration classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.families.towers.parts import (
    below,
    layer_norms,
    quantizer,
    replicated,
    two_layers,
    unquantized,
)
from compiler.checkpoints.families.towers.patches import (
    Patches,
    llava_layers,
    llava_projector,
    siglip,
    siglip_layers,
    siglip_patches,
)

_NEXT_GRIDS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
_VIDEO_FRAMES = 16  # llava_onevision.py:_MAX_FRAMES_PER_VIDEO
_LARGEST_SIDE = 2**16
_LARGEST_SCALE = 64
# Idefics 3 and SmolVLM cut an image into 4 × 4 tiles beside a small copy; marks stand around each.
_TILES, _MARKS = 17, 8
_OFFSETS = 4
_QFORMER_MLP = 3072  # granite4_vision.py:WindowQFormerDownsampler


def end_of_row(config: Config) -> tuple[Module, ...]:
    """What stands for the end of a row of patches."""
    return (Vector("image_newline", config.at("text_config").positive("hidden_size", default=4096)),)


def llava_next_tower(config: Config) -> Encoder:
    """Llava's tower and projector."""
    hidden = config.at("text_config").positive("hidden_size", default=4096)
    size, tower = llava_layers(config, "clip_vision_model", -2)
    modules = (*tower, *llava_projector(config, size.width, hidden))
    tokens = max(_tiled(size.grid, grid) for grid in _grids(config, size, _NEXT_GRIDS))
    item = ItemSize((tokens, tokens + 1), 1, "image_grid_pinpoints")
    return size.encoder(modules, hidden, item)


def llava_onevision_tower(config: Config) -> Encoder:
    """With SigLIP, and a projector that every rank holds whole.

    An image of more tiles than `anyres_max_9` allows is made smaller; frames of a video are pooled.
    """
    hidden = config.at("text_config").positive("hidden_size", default=4096)
    size, tower = llava_layers(config, "siglip_vision_model", -1)
    whole = unquantized(replicated(llava_projector(config, size.width, hidden)))
    image = max(_tiled(size.grid, grid) for grid in _grids(config, size, ()))
    pooled = -((-size.grid // config.positive("spatial_pool_stride", default=2)) ** 2)
    tokens = max(image, _VIDEO_FRAMES * pooled + 1)
    # What anyres_max leaves of an image is a third of its tiles at least.
    item = ItemSize((max(1, image // 4), tokens), 4, "image_grid_pinpoints; a video of 16 frames")
    encoder = size.encoder((*tower, *whole), hidden, item)
    return replace(encoder, modalities=("image", "video"))


def _grids(config: Config, size: Patches, default: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    """Tiles in rows and columns that an image may have."""
    for pair in config.items("image_grid_pinpoints") or default:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(_is_side(side) for side in pair):  # noqa: PLR2004
            raise ConfigError(f"`{config.path}image_grid_pinpoints` must list pairs of sizes, not {str(pair)[:40]}")
        yield max(1, pair[0] // size.image), max(1, pair[1] // size.image)
    if not (config.items("image_grid_pinpoints") or default):
        raise ConfigError(f"`{config.path}image_grid_pinpoints` is missing")


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_SIDE


def _tiled(grid: int, tiles: tuple[int, int]) -> int:
    """Tokens of all tiles, of a mark at the end of each row, and of the whole image made small."""
    rows, columns = grid * tiles[0], grid * tiles[1]
    return rows * (columns + 1) + grid**2


def granite4_vision_tower(config: Config) -> Encoder:
    """SigLIP, of whose layers several are pooled by a Q-Former each and added to layers of the language model."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size", default=4096)
    size, sides = siglip_patches(vision), _downsampling(config)
    levels = len(config.items("deepstack_layer_map"))
    names = (
        *(f"layerwise_projectors.{index}" for index in range(levels)),
        *(f"spatial_projectors.{index}" for index in range(_OFFSETS)),
    )
    pooled = _window_qformer(size.width, hidden, sides)
    modules = (
        *siglip(vision, method=quantizer(config), post_norm=False),
        *(below(name, module) for name in names for module in pooled),
    )
    small = size.grid * sides[0] // sides[1]
    grids = _grids(config, size, _NEXT_GRIDS)
    tokens = max(_tiled(small, grid) for grid in grids)
    kept = levels + (len(config.items("spatial_target_layers")) or _OFFSETS)
    patches = -(-(sides[1] ** 2) // sides[0] ** 2)
    item = ItemSize((tokens, tokens + 1), patches, "image_grid_pinpoints and downsample_rate")
    # Every level of a token is an embedding of its own, and buffers hold those of a whole batch.
    return replace(size.encoder(modules, hidden * kept, item), batch_elements=kept * hidden)


def _downsampling(config: Config) -> tuple[int, int]:
    """`downsample_rate` as it is written: queries and patches along a window's side, such as `4/8`."""
    text = config.text("downsample_rate")
    sides = [int(part) for part in text.split("/") if part.isdecimal() and len(part) < 5]  # noqa: PLR2004
    if text.count("/") != 1 or len(sides) != 2 or not 0 < sides[0] <= sides[1] <= _LARGEST_SCALE:  # noqa: PLR2004
        raise ConfigError(f"`{config.path}downsample_rate` must be two small numbers such as 4/8, not {text[:40]}")
    return sides[0], sides[1]


def _window_qformer(width: int, hidden: int, sides: tuple[int, int]) -> tuple[Module, ...]:
    """WindowQFormerDownsampler: one layer of BLIP-2's Q-Former, whole on every rank."""
    layer = (
        *_cross_attention("attention", width),
        *_cross_attention("crossattention", width),
        Linear("intermediate_query.dense", _QFORMER_MLP, width, Split.REPLICATED, bias=True),
        Linear("output_query.dense", width, _QFORMER_MLP, Split.REPLICATED, bias=True),
        *layer_norms(width, "output_query.LayerNorm"),
    )
    return unquantized(
        (
            *layer_norms(width, "norm", "qformer.layernorm"),
            *(below("qformer.encoder.layer.0", module) for module in layer),
            Vector("query", sides[0] ** 2 * width),
            Vector("image_positions", sides[1] ** 2 * width),
            Linear("out_linear", hidden, width, Split.REPLICATED, bias=True),
        )
    )


def _cross_attention(name: str, width: int) -> tuple[Module, ...]:
    parts = ("attention.query", "attention.key", "attention.value", "output.dense")
    linears = tuple(Linear(f"{name}.{part}", width, width, Split.REPLICATED, bias=True) for part in parts)
    return (*linears, *layer_norms(width, f"{name}.output.LayerNorm"))


def idefics3_tower(config: Config) -> Encoder:
    """Idefics 3's and SmolVLM's: SigLIP, whose patches are shuffled together and projected by every rank."""
    vision, scale = config.at("vision_config"), config.positive("scale_factor", default=2)
    hidden = config.at("text_config").positive("hidden_size", default=4096)
    if scale > _LARGEST_SCALE:
        raise ConfigError(f"`{config.path}scale_factor` is {scale}: no model shuffles so many patches")
    check_activation(vision, PLAIN)
    size = Patches(vision, image=224, patch=32, sizes=(1152, 3072, 12, 16))
    connector = Linear("connector.modality_projection.proj", hidden, size.width * scale**2, Split.REPLICATED)
    tower = (below("vision_model", module) for module in siglip_layers(size, post_norm=True))
    modules = tuple(below("model", module) for module in (*tower, connector))
    tile = max(1, size.grid**2 // scale**2)
    item = ItemSize((tile, _TILES * (tile + _MARKS)), scale**2, "one tile, or 17 with the marks around each")
    return size.encoder(modules, hidden, item)


def paligemma_tower(config: Config) -> Encoder:
    """SigLIP with a projector of one layer."""
    vision = config.at("vision_config")
    size, output = siglip_patches(vision), vision.positive("projection_dim", default=2048)
    modules = (
        *siglip(vision, method=quantizer(config), post_norm=True),
        *unquantized((Linear("multi_modal_projector.linear", output, size.width, Split.REPLICATED, bias=True),)),
    )
    tokens = size.grid**2
    return size.encoder(modules, output, ItemSize((tokens, tokens), 1, "image_size and patch_size"))


def cohere2_vision_tower(config: Config) -> Encoder:
    """SigLIP, whose patches are shuffled together, and a gated projector that no quantizer reaches."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size", default=8192)
    size, factor = siglip_patches(vision), config.positive("downsample_factor", default=2)
    if factor > _LARGEST_SCALE:
        raise ConfigError(f"`{config.path}downsample_factor` is {factor}: no model shuffles so many patches")
    inner, inputs = config.positive("alignment_intermediate_size", default=36864), size.width * factor**2
    projector = (
        Linear("multi_modal_projector.linear_1", inner // 2 * 2, inputs, Split.OUTPUTS, bias=True, parts=2),
        Linear("multi_modal_projector.linear_2", hidden, inner // 2, Split.INPUTS, bias=True),
    )
    modules = (*siglip(vision, method=quantizer(config), post_norm=True), *unquantized(projector))
    tile = max(1, (size.grid // factor) ** 2)
    item = ItemSize((tile, 13 * tile), factor**2, "one tile, or max_patches 12 and a small copy")
    return size.encoder(modules, hidden, item)


def lfm2_vl_tower(config: Config) -> Encoder:
    """SigLIP 2 over patches that are flattened, and a projector that every rank holds whole."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size", default=2560)
    check_activation(vision, PLAIN)
    check_value(vision, "model_type", ("siglip2_vision_model",))
    count, patch = vision.positive("num_patches", default=256), vision.positive("patch_size", default=16)
    side, factor = math.isqrt(count), config.positive("downsample_factor", default=2)
    if side**2 != count or factor > _LARGEST_SCALE or config.data.get("vision_feature_layer", -1) != -1:
        raise ConfigError(
            f"`{vision.path}num_patches` {count}, downsample_factor or vision_feature_layer is none known"
        )
    squared = Config({**vision.data, "image_size": side * patch}, vision.path)
    size = Patches(squared, image=256, patch=16, sizes=(768, 3072, 12, 12))
    merged, inner = size.width * factor**2, config.positive("projector_hidden_size", default=2560)
    normed, bias = config.flag("projector_use_layernorm", default=True), config.flag("projector_bias", default=True)
    projector = (
        *(layer_norms(merged, "layer_norm") if normed else ()),
        *unquantized(replicated(two_layers("linear_1", "linear_2", merged, inner, hidden, bias=bias))),
    )
    modules = (
        *(below("vision_tower.vision_model", module) for module in siglip_layers(size, post_norm=True)),
        *(below("multi_modal_projector", module) for module in projector),
    )
    tile = max(1, (config.positive("tile_size", default=512) // patch // factor) ** 2)
    small = config.positive("max_image_tokens", default=256)
    most = max(tile * config.positive("max_tiles", default=10) + small, small)
    item = ItemSize((small, most), factor**2, "max_image_tokens, or max_tiles beside it")
    return size.encoder(modules, hidden, item)
