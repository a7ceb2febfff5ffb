"""Models in Mistral's own format that read images: a tower by `vision_config`, as params.json has it.

vllm/model_executor/models/pixtral.py:PixtralForConditionalGeneration of 0.33.0 builds tower and projector without a
quantizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from compiler.checkpoints.architecture import Architecture, Encoder, ItemSize, Linear, Module, Split
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.dense import plain as dense
from compiler.checkpoints.families.latent import mla
from compiler.checkpoints.families.multimodal.composed import composed, text_config
from compiler.checkpoints.families.parts import norms
from compiler.checkpoints.families.terms import check_present
from compiler.checkpoints.families.towers.parts import unquantized
from compiler.checkpoints.families.towers.patches import Patches, pixtral_patches
from compiler.checkpoints.families.towers.patches import pixtral as tower_of

_TEXT: Mapping[str, Callable[[str, Config], Architecture]] = {
    "MistralForCausalLM": dense.llama,
    "MistralLarge3ForCausalLM": mla.deepseek,
}
# pixtral.py:VisionEncoderArgs has no defaults for these.
_ASKED = (
    "hidden_size", "num_channels", "image_size", "patch_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "rope_theta", "image_token_id",
)  # fmt: skip
_MERGES = "patch_merge"


def pixtral(name: str, config: Config) -> Architecture:
    """PixtralForConditionalGeneration."""
    nested = config.at("text_config")
    classes = nested.items("architectures")
    reader = _TEXT.get(classes[0]) if classes and isinstance(classes[0], str) else None
    if reader is None:
        raise UnsupportedArchitectureError(f"{str(classes[:1])[:40]} behind `{nested.path}architectures`")
    # Only a key of the file itself stands above the language model's own (config/vllm.py:with_hf_config).
    holder = config if "tie_word_embeddings" in config.data else nested
    text = text_config(config, nested, {}, tied=holder.flag("tie_word_embeddings"))
    return composed(reader(name, text), (_tower(config),), ())


def _tower(config: Config) -> Encoder:
    vision, hidden = config.at("vision_config"), config.at("text_config").positive("hidden_size")
    check_present(vision, *_ASKED)
    size, merge = pixtral_patches(vision), vision.positive("spatial_merge_size", default=1)
    _check(vision, size, merge)
    modules = (*tower_of(vision, under="vision_encoder"), *_projector(vision, size, merge, hidden))
    side = size.side * merge
    low, high = sorted(math.ceil(longest / side) ** 2 for longest in (1024, max(size.image, 1540)))
    item = ItemSize((low, high), merge**2, "max_image_size of tekken.json, 1024 to 1540 or image_size")
    return size.encoder(unquantized(modules), hidden, item)


def _check(vision: Config, size: Patches, merge: int) -> None:
    if size.width // size.heads % 2:
        raise ConfigError(f"`{vision.path}num_attention_heads`: heads of an odd width cannot be rotated")
    if merge > 1 and vision.text("mm_projector_id") != _MERGES:
        raise ConfigError(f"`{vision.path}spatial_merge_size` is {merge}, and `mm_projector_id` is not `{_MERGES}`")


def _projector(vision: Config, size: Patches, merge: int, hidden: int) -> tuple[Module, ...]:
    """Norm, merging of patches, and two layers that every rank holds whole."""
    bias = vision.flag("adapter_bias", default=True)
    normed = vision.flag("add_pre_mm_projector_layer_norm")
    merges = vision.text("mm_projector_id") == _MERGES
    return (
        *(norms(size.width, "pre_mm_projector_norm") if normed else ()),
        *(_merging(size.width, merge) if merges else ()),
        Linear("vision_language_adapter.w_in", hidden, size.width, Split.REPLICATED, bias),
        Linear("vision_language_adapter.w_out", hidden, hidden, Split.REPLICATED, bias),
    )


def _merging(width: int, merge: int) -> tuple[Module, ...]:
    return (Linear("patch_merger.merging_layer", width, width * merge**2, Split.REPLICATED),)
