"""Pieces that the towers for images and sound share.

What vLLM's multimodal models do by default: linear layers of a tower are split over ranks (`mm_encoder_tp_mode` is
`weights`, vllm/model_executor/models/vision.py:is_vit_use_data_parallel of 0.33.0), norms and convolutions are copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from compiler.checkpoints.architecture import Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.named import named

# Groups of a video that has as many frames as max_model_len allows.
ALL_FRAMES = 2**20
_WIDEST_MERGE = 64


def layer_norms(size: int, *names: str) -> tuple[Module, ...]:
    """Norms with a weight and a bias."""
    return tuple(Vector(f"{name}.{part}", size) for name in names for part in ("weight", "bias"))


def convolution(name: str, outputs: int, inputs: int, *, bias: bool) -> tuple[Module, ...]:
    """A convolution over patches, which no quantizer touches."""
    weight = Vector(f"{name}.weight", outputs * inputs)
    return (weight, Vector(f"{name}.bias", outputs)) if bias else (weight,)


def stored_qkv(name: str, width: int, *, inputs: int, bias: bool = True, parts: int = 3) -> Linear:
    """Query, key and value of all heads, which the checkpoint holds as one tensor."""
    return Linear(name, 3 * width, inputs, Split.OUTPUTS, bias, parts=parts)


def separate_qkv(name: str, width: int, *, inputs: int, bias: bool) -> tuple[Module, ...]:
    """Query, key and value that the checkpoint holds apart and vLLM fuses."""
    fused = f"{name}.qkv_proj"
    return tuple(Linear(f"{name}.{part}_proj", width, inputs, Split.OUTPUTS, bias, fused) for part in "qkv")


def two_layers(
    first: str, second: str, inputs: int, width: int, outputs: int, *, bias: bool = True
) -> tuple[Module, ...]:
    """A projection up and one down."""
    return (
        Linear(first, width, inputs, Split.OUTPUTS, bias),
        Linear(second, outputs, width, Split.INPUTS, bias),
    )


def blocks(name: str, count: int, modules: Iterable[Module]) -> tuple[Module, ...]:
    """That many blocks of the same modules, numbered."""
    block = tuple(modules)
    return tuple(below(f"{name}.{index}", module) for index in range(count) for module in block)


def below(name: str, module: Module) -> Module:
    """The module with a path before its name."""
    fused = f"{name}.{module.fused}" if isinstance(module, Linear) and module.fused is not None else None
    return named(module, f"{name}.{module.name}", fused)


def unquantized(modules: Iterable[Module]) -> tuple[Module, ...]:
    """Of a part that the engine builds without the quantizer."""
    return tuple(replace(module, quantized=False) if isinstance(module, Linear) else module for module in modules)


def replicated(modules: Iterable[Module]) -> tuple[Module, ...]:
    """Of a part that every rank holds whole."""
    return tuple(
        replace(module, split=Split.REPLICATED) if isinstance(module, Linear) else module for module in modules
    )


def whole_unless(heads: int, modules: Iterable[Module]) -> tuple[Module, ...]:
    """Of a part that every rank holds whole where ranks do not divide its heads."""
    return tuple(replace(module, whole_unless=heads) if isinstance(module, Linear) else module for module in modules)


def depth(config: Config, key: str, default: int) -> int:
    """Layers of a tower."""
    return config.layers(key) if key in config else default


def heads_of(config: Config, key: str, width: int, default: int) -> int:
    """Attention heads, of which the width must be a multiple."""
    heads = config.positive(key, default=default)
    if width % heads:
        raise ConfigError(f"`{config.path}{key}` {heads} does not divide the tower's width {width}")
    return heads


def grid_of(vision: Config, image: int, patch: int) -> int:
    """Patches along one side of an image, by `image_size` and `patch_size`, whose defaults are given."""
    size, side = vision.positive("image_size", default=image), vision.positive("patch_size", default=patch)
    if size < side:
        raise ConfigError(f"`{vision.path}image_size` {size} is less than patch_size {side}")
    return size // side


def merged_patches(vision: Config) -> int:
    """Patches that become one token, by `spatial_merge_size`."""
    merge = vision.positive("spatial_merge_size", default=2)
    if merge > _WIDEST_MERGE:
        raise ConfigError(f"`{vision.path}spatial_merge_size` is {merge}: no tower merges so many patches")
    return merge**2


def shuffle_of(config: Config) -> int:
    """Patches along a side that become one token, by `downsample_ratio`."""
    ratio = config.data.get("downsample_ratio", 0.5)
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 1 / 64 <= ratio <= 1:
        raise ConfigError(f"`{config.path}downsample_ratio` must be a share up to 1, not {str(ratio)[:40]}")
    return int(1 / ratio)


def feature_layers(config: Config, count: int, default: int) -> int:
    """Layers of a tower that are built: up to the deepest that `vision_feature_layer` names.

    See vllm/model_executor/models/llava.py:_get_num_hidden_layers.
    """
    value = config.data.get("vision_feature_layer")
    listed = value if isinstance(value, list) else [default if value is None else value]
    if not listed or not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in listed):
        raise ConfigError(f"`{config.path}vision_feature_layer` must be a number or a list of them")
    deepest = max(count + layer + 1 if layer < 0 else layer for layer in listed)
    if not 0 < deepest <= count:
        raise ConfigError(f"`{config.path}vision_feature_layer` is {str(value)[:40]}: the tower has {count} layers")
    return deepest


def quantizer(config: Config) -> str:
    """Method of the config's quantization block; empty where there is none."""
    for block in (config, config.at("text_config")):
        if "quantization_config" in block:
            return block.at("quantization_config").text("quant_method")
        if "compression_config" in block:
            return "compressed-tensors"
    return ""
