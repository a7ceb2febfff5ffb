"""MiniCPM-V: SigLIP before a resampler that gives every tile as many tokens.

vllm/model_executor/models/minicpmv.py and vllm/model_executor/layers/resampler.py of 0.33.0.
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.checkpoints.architecture import Architecture, Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.dense import plain as dense
from compiler.checkpoints.families.multimodal.composed import composed
from compiler.checkpoints.families.towers.parts import below, layer_norms
from compiler.checkpoints.families.towers.patches import Patches, siglip_layers

_VERSIONS: dict[str, Callable[[str, Config], Architecture]] = {
    "2.6": dense.qwen2,
    "4.0": dense.llama,
    "4.5": dense.qwen3,
}
# Tables of positions beside the parameters: patches on two sides, and frames (Resampler4_5).
_SIDE, _FRAMES = 70, 36000
_TILES, _VIDEO_FRAMES, _MARKS = 10, 16, 12


def minicpmv(name: str, config: Config) -> Architecture:
    """MiniCPMV, whose `version` decides about the language model; its keys stand at the top."""
    version = str(config.data.get("version"))
    version = version if "." in version else f"{version}.0"
    if version not in _VERSIONS:
        raise ConfigError(f"`{config.path}version` {version[:40]} is not accounted for, of {', '.join(_VERSIONS)}")
    alone = _VERSIONS[version](name, config)
    return composed(alone, (_tower(config, alone.hidden_size, is_timed=version == "4.5"),), (), under="llm")


def _tower(config: Config, hidden: int, *, is_timed: bool) -> Encoder:
    vision, queries = config.at("vision_config"), config.positive("query_num")
    check_activation(vision, PLAIN)
    size = Patches(vision, image=224, patch=16, sizes=(768, 3072, 12, 12))
    built = size.count - config.flag("drop_vision_last_layer")
    modules = (
        *(below("vpm", module) for module in siglip_layers(size, built, post_norm=True)),
        *(below("resampler", module) for module in _resampler(hidden, size.width, queries, is_timed=is_timed)),
    )
    tile = queries + _MARKS
    item = ItemSize(
        (_TILES * queries, max(_TILES, _VIDEO_FRAMES) * tile), 1024 // min(queries, 1024), "10 tiles or 16 frames"
    )
    encoder = size.encoder(modules, hidden, item)
    return Encoder(
        encoder.modules, ("image", "video"), size.heads, encoder.hidden_size, encoder.intermediate_size, hidden, item
    )


def _resampler(hidden: int, width: int, queries: int, *, is_timed: bool) -> tuple[Module, ...]:
    """Whole on every rank, and out of the quantizers' reach."""
    return (
        Vector("query", queries * hidden),
        Vector("proj", hidden**2),
        Linear("kv_proj", hidden, width, Split.REPLICATED, quantized=False),
        Vector("attn.in_proj_weight", 3 * hidden**2),
        Vector("attn.in_proj_bias", 3 * hidden),
        Linear("attn.out_proj", hidden, hidden, Split.REPLICATED, bias=True, quantized=False),
        *layer_norms(hidden, "ln_q", "ln_kv", "ln_post"),
        Vector("pos_embed", _SIDE**2 * hidden, stored=False),
        *((Vector("temporal_pos_embed", _FRAMES * hidden, stored=False),) if is_timed else ()),
    )
