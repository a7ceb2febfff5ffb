"""Muse Glimmer: a decoder with gated attention and windows, and its vision tower (models/muse_glimmer.py of 0.33.0)."""

from __future__ import annotations

import dataclasses

from compiler.memory.architecture import Architecture, Linear, Module, Split, Vector
from compiler.memory.config import Config, head_dim_of
from compiler.memory.families.decoder import Frame, Sizes, alike, assemble, layer_norms, projections
from compiler.memory.families.parts import Heads, attention, gated_mlp, norms
from compiler.memory.families.windows import layer_windows

_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
_CHANNELS = 3


def text(name: str, config: Config) -> Architecture:
    """MuseGlimmerForCausalLM: the attention's output is gated by a projection as wide as the queries."""
    heads, sizes = Heads.read(config), Sizes.read(config)
    modules = (
        *norms(sizes.hidden, *_NORMS),
        *attention(heads, sizes.hidden),
        Linear("self_attn.gate_proj", heads.query * heads.dim, sizes.hidden, Split.OUTPUTS),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    layers = alike(modules, heads, layer_windows(config, config.layers()))
    return assemble(name, config, layers, heads, sizes, frame=Frame(on_every_stage=True))


def multimodal(name: str, config: Config) -> Architecture:
    """MuseGlimmerForConditionalGeneration: the vision tower and its adapter are on every pipeline stage."""
    inner = {key: config.data[key] for key in ("torch_dtype", "dtype") if key in config}
    part = config.at("text_config")
    decoder = text(name, Config({**inner, **part.data}, part.path))
    return dataclasses.replace(decoder, everywhere=(*decoder.everywhere, *_vision(config, decoder.hidden_size)))


def _vision(config: Config, text_hidden: int) -> tuple[Module, ...]:
    """Only attention is divided; the rest of the tower is whole on every rank."""
    vision = config.at("vision_config")
    hidden, width = vision.positive("hidden_size"), vision.positive("intermediate_size")
    query = vision.positive("num_attention_heads")
    heads = Heads(query, query, head_dim_of(vision, hidden, query))
    patch = vision.positive("patch_temporal") * _CHANNELS * vision.positive("patch_size") ** 2
    out, projector = config.positive("out_hidden_size"), config.positive("projector_hidden_size")
    positions = vision.positive("pos_emb_height") * vision.positive("pos_emb_width")
    blocks = (
        module for index in range(vision.layers()) for module in _block(f"vision_tower.layers.{index}", heads, width)
    )
    return (
        Vector("vision_tower.positional_embedding", positions * hidden),
        _whole("vision_tower.patch_embedding", hidden, patch),
        *layer_norms(hidden, "vision_tower.ln_pre", "vision_tower.ln_post"),
        *blocks,
        _whole("vision_adapter.fc1", projector, out),
        _whole("vision_adapter.fc2", projector, projector),
        _whole("vision_projection", text_hidden, projector),
    )


def _block(path: str, heads: Heads, width: int) -> tuple[Module, ...]:
    hidden = heads.query * heads.dim
    qkv = (f"{path}.attn.q_proj", f"{path}.attn.k_proj", f"{path}.attn.v_proj")
    return (
        *layer_norms(hidden, f"{path}.norm1", f"{path}.norm2"),
        *projections(heads, hidden, qkv, f"{path}.attn.proj", qkv_bias=True, out_bias=True),
        _whole(f"{path}.mlp.fc1", width, hidden, bias=True),
        _whole(f"{path}.mlp.fc2", hidden, width, bias=True),
    )


def _whole(name: str, outputs: int, inputs: int, *, bias: bool = False) -> Linear:
    """Torch's own Linear, which no quantizer touches."""
    return Linear(name, outputs, inputs, Split.REPLICATED, bias, quantized=False)
