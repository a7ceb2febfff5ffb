"""Towers over images of one size, and Pixtral's over images of any size; and what Gemma 3, Mistral 3 and Llava add.

vllm/model_executor/models/{siglip,clip,pixtral,gemma3_mm,mistral3,llava}.py of 0.33.0; defaults are those of
transformers' configuration classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import GATED, PLAIN, check_activation
from compiler.checkpoints.families.parts import norms
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.families.towers.parts import (
    below,
    blocks,
    convolution,
    depth,
    feature_layers,
    grid_of,
    heads_of,
    layer_norms,
    quantizer,
    separate_qkv,
    two_layers,
    unquantized,
)

_ALIGNMENT = 64


class Patches:
    """Widths of such a tower.

    Attributes:
        grid: patches along one side of its images, rounded down.
        newer: gate and up are one tensor, and queries and keys are rotated, as Pixtral has it.
    """

    def __init__(
        self, vision: Config, *, image: int, patch: int, sizes: tuple[int, int, int, int], newer: bool = False
    ) -> None:
        self.newer = newer
        width, mlp, count, heads = sizes
        self.width = vision.positive("hidden_size", default=width)
        self.mlp = vision.positive("intermediate_size", default=mlp)
        self.count = depth(vision, "num_hidden_layers", count)
        self.heads = heads_of(vision, "num_attention_heads", self.width, heads)
        self.image = vision.positive("image_size", default=image)
        self.side = vision.positive("patch_size", default=patch)
        self.pixels = vision.positive("num_channels", default=3) * self.side**2
        self.grid = grid_of(vision, image, patch)

    def encoder(self, modules: Iterable[Module], output: int, item: ItemSize) -> Encoder:
        """A tower of these widths."""
        widths = (self.width, self.mlp * (2 if self.newer else 1), output)
        tower = tuple(modules)
        return Encoder(tower, ("image",), self.heads, *widths, item, pixels=self.pixels, rotates=self.newer)


def siglip(vision: Config, layers: int | None = None, *, method: str, post_norm: bool) -> tuple[Module, ...]:
    """SiglipVisionModel; its MLPs are quantized only where their widths suit the kernels (siglip.py:SiglipMLP)."""
    check_activation(vision, PLAIN)
    size = siglip_patches(vision)
    modules = siglip_layers(size, layers, post_norm=post_norm, is_mlp_quantized=suits_siglip(size, method))
    return tuple(below("vision_tower.vision_model", module) for module in modules)


def suits_siglip(size: Patches, method: str) -> bool:
    """Whether a quantizer reaches SigLIP's MLPs."""
    aligned = size.width % _ALIGNMENT == 0 and size.mlp % _ALIGNMENT == 0
    return aligned or method in ("bitsandbytes", "torchao")


def siglip_layers(
    size: Patches, layers: int | None = None, *, post_norm: bool, is_mlp_quantized: bool = True
) -> tuple[Module, ...]:
    """SigLIP's embeddings and blocks, below no name."""
    mlp = two_layers("mlp.fc1", "mlp.fc2", size.width, size.mlp, size.width)
    block = _transformer_block(size, mlp if is_mlp_quantized else unquantized(mlp))
    return (
        *convolution("embeddings.patch_embedding", size.width, size.pixels, bias=True),
        *norms(size.grid**2 * size.width, "embeddings.position_embedding"),
        *blocks("encoder.layers", _built(size, layers), block),
        *(layer_norms(size.width, "post_layernorm") if post_norm else ()),
    )


def siglip_patches(vision: Config) -> Patches:
    """Numbers of a SiglipVisionConfig."""
    return Patches(vision, image=224, patch=16, sizes=(768, 3072, 12, 12))


def clip(vision: Config, layers: int | None = None, *, post_norm: bool) -> tuple[Module, ...]:
    """CLIPVisionModel: a class embedding beside the patches."""
    modules = clip_layers(vision, layers)
    width = clip_patches(vision).width
    whole = (*modules, *(layer_norms(width, "post_layernorm") if post_norm else ()))
    return tuple(below("vision_model", module) for module in whole)


def clip_layers(vision: Config, layers: int | None = None, *, blocks_at: str = "encoder.layers") -> tuple[Module, ...]:
    """CLIP's embeddings and blocks, below no name."""
    check_activation(vision, PLAIN)
    size = clip_patches(vision)
    if size.image % size.side:
        raise ConfigError(f"`{vision.path}image_size` {size.image} is not a multiple of patch_size {size.side}")
    mlp = two_layers("mlp.fc1", "mlp.fc2", size.width, size.mlp, size.width)
    return (
        Vector("embeddings.class_embedding", size.width),
        *convolution("embeddings.patch_embedding", size.width, size.pixels, bias=False),
        *norms((size.grid**2 + 1) * size.width, "embeddings.position_embedding"),
        *layer_norms(size.width, "pre_layrnorm"),
        *blocks(blocks_at, _built(size, layers), _transformer_block(size, mlp)),
    )


def clip_patches(vision: Config) -> Patches:
    """Numbers of a CLIPVisionConfig."""
    return Patches(vision, image=224, patch=32, sizes=(768, 3072, 12, 12))


def _transformer_block(size: Patches, mlp: tuple[Module, ...]) -> tuple[Module, ...]:
    return (
        *separate_qkv("self_attn", size.width, inputs=size.width, bias=True),
        Linear("self_attn.out_proj", size.width, size.width, Split.INPUTS, bias=True),
        *layer_norms(size.width, "layer_norm1", "layer_norm2"),
        *mlp,
    )


def _built(size: Patches, layers: int | None) -> int:
    return size.count if layers is None else layers


def pixtral(vision: Config, layers: int | None = None, *, under: str = "vision_tower") -> tuple[Module, ...]:
    """PixtralHFVisionModel, and the class of Mistral's own format: no biases, gated MLPs, no norm at the end."""
    check_activation(vision, GATED)
    size = pixtral_patches(vision)
    block = (
        *norms(size.width, "attention_norm", "ffn_norm"),
        *separate_qkv("attention", size.width, inputs=size.width, bias=False),
        Linear("attention.o_proj", size.width, size.width, Split.INPUTS),
        Linear("feed_forward.gate_proj", size.mlp, size.width, Split.OUTPUTS, fused="feed_forward.gate_up_proj"),
        Linear("feed_forward.up_proj", size.mlp, size.width, Split.OUTPUTS, fused="feed_forward.gate_up_proj"),
        Linear("feed_forward.down_proj", size.width, size.mlp, Split.INPUTS),
    )
    modules = (
        *convolution("patch_conv", size.width, size.pixels, bias=False),
        *norms(size.width, "ln_pre"),
        *blocks("transformer.layers", _built(size, layers), block),
    )
    return tuple(below(under, module) for module in modules)


def pixtral_patches(vision: Config) -> Patches:
    """Numbers of a PixtralVisionConfig."""
    return Patches(vision, image=1024, patch=16, sizes=(1024, 4096, 24, 16), newer=True)


def gemma3_tower(config: Config) -> Encoder:
    """SigLIP, averaged to `mm_tokens_per_image` tokens and projected by weights that no quantizer touches."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size", default=2304)
    size, tokens = siglip_patches(vision), config.positive("mm_tokens_per_image", default=256)
    modules = (
        *siglip(vision, method=quantizer(config), post_norm=True),
        Vector("multi_modal_projector.mm_input_projection_weight", size.width * hidden),
        *norms(size.width, "multi_modal_projector.mm_soft_emb_norm"),
    )
    # Pan and scan, off unless preprocessor_config.json says otherwise, adds up to four crops.
    item = ItemSize((tokens, 5 * tokens), -(-(size.grid**2) // tokens), "mm_tokens_per_image; with crops five times it")
    return size.encoder(modules, hidden, item)


def mistral3_tower(config: Config) -> Encoder:
    """Pixtral's tower and a projector that merges patches."""
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size")
    check_value(vision, "model_type", ("pixtral",))
    check_activation(config, PLAIN, "projector_hidden_act")
    size, merge = pixtral_patches(vision), config.positive("spatial_merge_size", default=2)
    modules = (
        *pixtral(vision, feature_layers(config, size.count, -1)),
        *norms(size.width, "multi_modal_projector.norm"),
        Vector("multi_modal_projector.patch_merger.merging_layer.weight", size.width * merge**2 * size.width),
        *_projector(size.width, hidden, bias=config.flag("multimodal_projector_bias")),
    )
    side = size.side * merge
    low, high = sorted(math.ceil(longest / side) ** 2 for longest in (1024, max(size.image, 1540)))
    return size.encoder(modules, hidden, ItemSize((low, high), merge**2, "longest_edge, 1024 to 1540 or image_size"))


def llava_tower(config: Config) -> Encoder:
    """A tower by the kind that `vision_config` names, as deep as the features that are read."""
    if config.data.get("projector_hidden_act") is not None:
        # llava.py: without one, GELU stands for it where the tower's is GELU too.
        check_activation(config, PLAIN, "projector_hidden_act")
    check_value(config, "vision_feature_select_strategy", ("default", "full", "class"))
    hidden = config.at("text_config").positive("hidden_size", default=4096)
    size, tower = llava_layers(config, "clip_vision_model", -2)
    modules, tokens = (*tower, *llava_projector(config, size.width, hidden)), size.grid**2
    return size.encoder(modules, hidden, ItemSize((tokens, tokens + 1), 1, "image_size and patch_size"))


def llava_layers(config: Config, kind: str, layer: int) -> tuple[Patches, tuple[Module, ...]]:
    """Tower of Llava and its relatives.

    Args:
        kind: of the tower where the config names none.
        layer: whose features are read where the config does not say.
    """
    vision = config.at("vision_config")
    named = vision.text("model_type", default=kind)
    if named not in _LLAVA_TOWERS:
        raise ConfigError(f"`{vision.path}model_type` is {named[:40]}: Llava has no such tower")
    patches, build = _LLAVA_TOWERS[named]
    size = patches(vision)
    return size, build(vision, feature_layers(config, size.count, layer), quantizer(config))


def llava_projector(config: Config, width: int, hidden: int) -> tuple[Module, ...]:
    """Two layers, from the tower's width to the language model's."""
    return _projector(width, hidden, bias=config.flag("multimodal_projector_bias", default=True))


def _projector(width: int, hidden: int, *, bias: bool) -> tuple[Module, ...]:
    name = "multi_modal_projector.linear_"
    return two_layers(f"{name}1", f"{name}2", width, hidden, hidden, bias=bias)


def _llava_clip(vision: Config, layers: int, _method: str) -> tuple[Module, ...]:
    return tuple(below("vision_tower", module) for module in clip(vision, layers, post_norm=False))


def _llava_siglip(vision: Config, layers: int, method: str) -> tuple[Module, ...]:
    return siglip(vision, layers, method=method, post_norm=False)


def _llava_pixtral(vision: Config, layers: int, _method: str) -> tuple[Module, ...]:
    return pixtral(vision, layers)


_Build = Callable[[Config, int, str], tuple[Module, ...]]

_LLAVA_TOWERS: dict[str, tuple[Callable[[Config], Patches], _Build]] = {
    "clip_vision_model": (clip_patches, _llava_clip),
    "siglip_vision_model": (siglip_patches, _llava_siglip),
    "pixtral": (pixtral_patches, _llava_pixtral),
}
