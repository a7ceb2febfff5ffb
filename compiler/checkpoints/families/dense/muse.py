"""Muse Glimmer's decoder, with gated attention and windows (vllm/model_executor/models/muse_glimmer.py of 0.33.0)."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture, Linear, Split
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.decoder import Frame, Sizes, alike, assemble
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.windows import layer_windows

_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


def text(name: str, config: Config) -> Architecture:
    """MuseGlimmerForCausalLM: the attention's output is gated by a projection as wide as the queries."""
    check_activation(config, SILU, "hidden_activation")
    heads, sizes = Heads.read(config), Sizes.read(config)
    if "layer_rope_theta" in config:
        config.per_layer("layer_rope_theta", config.layers())
    modules = (
        *norms(sizes.hidden, *_NORMS),
        *attention(heads, sizes.hidden),
        Linear("self_attn.gate_proj", heads.query * heads.dim, sizes.hidden, Split.OUTPUTS),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    layers = alike(modules, heads, layer_windows(config, config.layers()))
    return assemble(name, config, layers, heads, sizes, frame=Frame(on_every_stage=True))
