"""Gemma, Gemma 2 and Gemma 3 (text): vllm/model_executor/models/{gemma,gemma2,gemma3}.py of 0.33.0."""

from __future__ import annotations

import dataclasses

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.config import Config, kv_heads_of
from compiler.checkpoints.families.activations import GATED, check_activation
from compiler.checkpoints.families.decoder import Frame, Sizes, alike, assemble
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.windows import layer_windows, uniform_windows

_FRAME = Frame(on_every_stage=True, tied=True)
_TWO_NORMS = ("input_layernorm", "post_attention_layernorm")
_FOUR_NORMS = (*_TWO_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")
_HEAD_DIM = 256  # transformers' default, whatever the hidden size


def gemma(name: str, config: Config) -> Architecture:
    """GemmaForCausalLM: two norms, no biases."""
    if config.data.get("hidden_activation") is not None:
        # Without one, `hidden_act` is not looked at.
        check_activation(config, ("gelu", "gelu_pytorch_tanh"), "hidden_activation")
    return _gemma(name, config, windows=uniform_windows(config, config.layers()), four_norms=False, bias=False)


def gemma2(name: str, config: Config) -> Architecture:
    """Gemma2ForCausalLM: four norms, every second layer with a window."""
    check_activation(config, ("gelu_pytorch_tanh",), "hidden_activation")
    return _gemma(name, config, windows=layer_windows(config, config.layers()), bias=config.flag("attention_bias"))


def gemma3(name: str, config: Config) -> Architecture:
    """Gemma3ForCausalLM: also each head's q and k are normalised; five layers of six have a window."""
    check_activation(config, GATED, "hidden_activation")
    windows = layer_windows(config, config.layers())
    return _gemma(name, config, windows=windows, bias=config.flag("attention_bias"), qk_norm=True)


def gemma3_embedding(name: str, config: Config) -> Architecture:
    """Gemma3TextModel: the same without an output head; with `use_bidirectional_attention` nothing is cached."""
    decoder = gemma3(name, config)
    layers = decoder.layers
    if config.flag("use_bidirectional_attention"):
        layers = (dataclasses.replace(layers[0], caches=()),) * len(layers)
    return dataclasses.replace(
        decoder, layers=layers, everywhere=decoder.everywhere[:2], layer_prefix="layers", pooling=True
    )


def _gemma(
    name: str,
    config: Config,
    *,
    windows: tuple[int | None, ...],
    bias: bool,
    four_norms: bool = True,
    qk_norm: bool = False,
) -> Architecture:
    heads, sizes = _heads(config), Sizes.read(config)
    modules = (
        *norms(sizes.hidden, *(_FOUR_NORMS if four_norms else _TWO_NORMS)),
        *(norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm") if qk_norm else ()),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    return assemble(name, config, alike(modules, heads, windows), heads, sizes, frame=_FRAME)


def _heads(config: Config) -> Heads:
    query = config.positive("num_attention_heads")
    return Heads(query, kv_heads_of(config, query), config.positive("head_dim", default=_HEAD_DIM))
