"""Whether CUDA has a kernel of flash attention for a model and its cache (ggml/src/ggml-cuda/fattn.cu, b10435).

Without one, `--flash-attn on` computes attention on the host and `auto` turns it off: neither is what was asked for.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.engines.llama_cpp.models.shape import Layer, Shape
from compiler.engines.llama_cpp.releases.rules import Rules
from compiler.engines.llama_cpp.settings import CACHE_TYPES, FlashAttention, Settings, SettingsError

_HEADS = frozenset({40, 64, 72, 80, 96, 112, 128, 256})
_SHARED_HEADS = {(192, 128): 8, (320, 256): 32, (512, 512): 2, (576, 512): 2}
"""Lengths of key and value that have a kernel where so many heads, or a multiple, share a key; two stand for any."""
_ANY_SHARING = 2


def with_known_flash(settings: Settings, shape: Shape, rules: Rules) -> Settings:
    """The settings, with `auto` turned off where the server would do so.

    Raises:
        SettingsError: flash attention is asked for and no kernel of the card does it, or a cache's blocks do not divide
            its heads.
    """
    _check_blocks(settings, shape)
    if settings.flash_attention is FlashAttention.AUTO and CACHE_TYPES[settings.value_type].block > 1:
        # A quantized cache of values cannot do without (src/llama-context.cpp, llama_init_from_model, b10435).
        settings = replace(settings, flash_attention=FlashAttention.ON)
    obstacle = _obstacle(settings, shape, rules)
    if obstacle is None or not settings.devices or settings.flash_attention is FlashAttention.OFF:
        return settings
    if settings.flash_attention is FlashAttention.ON:
        raise SettingsError(f"flash attention would be computed on the host: {obstacle}")
    return replace(settings, flash_attention=FlashAttention.OFF)


def _check_blocks(settings: Settings, shape: Shape) -> None:
    """src/llama-context.cpp, llama_init_from_model, b10435: of all layers, whether or not they cache."""
    if settings.flash_attention is FlashAttention.OFF:
        return
    keys, values = CACHE_TYPES[settings.key_type], CACHE_TYPES[settings.value_type]
    for key, value in {_lengths(layer) for layer in shape.main_layers}:
        for kind, length in ((keys, key), (values, value)):
            if length % kind.block:
                raise SettingsError(f"heads of {length} are no whole blocks of {kind.name}")


def _obstacle(settings: Settings, shape: Shape, rules: Rules) -> str | None:
    types = {settings.key_type} if shape.is_latent else {settings.key_type, settings.value_type}
    if shape.architecture.is_encoder:
        # Keys and values are cast to f16 as they are computed (src/llama-graph.cpp, build_attn_mha).
        types = {"f16"}
    if len(types) > 1 and rules.flash_types_equal:
        return f"keys are {settings.key_type} and values {settings.value_type}"
    if not types <= rules.flash_types:
        return f"there is no kernel for a cache of {', '.join(sorted(types - rules.flash_types))}"
    heads = _heads_without_kernel(shape)
    return f"there is no kernel for heads of {heads.pop()}" if heads else None


def lacks_kernel(shape: Shape) -> bool:
    """Whether CUDA has no kernel for some of a model's heads, whatever its cache."""
    return bool(_heads_without_kernel(shape))


def has_kernel(head: int) -> bool:
    """Whether CUDA has one for keys and values of the same length, in f16."""
    return head in _HEADS


def _heads_without_kernel(shape: Shape) -> set[tuple[int, int]]:
    return {_lengths(layer) for layer in shape.main_layers if _attends(layer) and not _has_kernel(layer)}


def _attends(layer: Layer) -> bool:
    return layer.has_cache or layer.attends_to_batch


def _lengths(layer: Layer) -> tuple[int, int]:
    return layer.key_length, layer.value_length


def _has_kernel(layer: Layer) -> bool:
    key, value = _lengths(layer)
    if key == value and key in _HEADS:
        return True
    sharing = layer.heads // layer.kv_heads if layer.kv_heads else 0
    least = _SHARED_HEADS.get((key, value))
    if least is None:
        return False
    return sharing >= least if least == _ANY_SHARING else sharing > 0 and sharing % least == 0
