"""Mixtures of experts that vLLM runs through transformers' own model code.

vllm/model_executor/models/transformers/moe.py of 0.33.0 replaces experts by vLLM's; routers stay as they are.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture, Module, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.decoder import LLAMA_FRAME, Frame, Sizes, alike, assemble
from compiler.checkpoints.families.experts.parts import routed, router
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.windows import layer_windows

_NORMS = ("input_layernorm", "post_attention_layernorm")


def _assembled(
    name: str, config: Config, heads: Heads, modules: tuple[Module, ...], *, frame: Frame = LLAMA_FRAME
) -> Architecture:
    layers = alike(modules, heads, layer_windows(config, config.layers()))
    return assemble(name, config, layers, heads, Sizes.read(config), frame=frame)


def hunyuan_moe(name: str, config: Config) -> Architecture:
    """HunYuanMoEV1ForCausalLM: normalised heads, one shared expert, a router that quantizers reach."""
    heads, hidden, width = Heads.read(config), config.positive("hidden_size"), config.positive("intermediate_size")
    count, bias = _same(config, "num_experts"), config.flag("attention_bias")
    modules = (
        *norms(hidden, *_NORMS),
        *norms(heads.dim, "self_attn.query_layernorm", "self_attn.key_layernorm"),
        *attention(heads, hidden, qkv_bias=bias, out_bias=bias),
        router("mlp.gate.wg", count, hidden, quantized=True),
        routed(_with(config, "moe_topk"), count, width, top_k="moe_topk"),
        *gated_mlp(width, hidden, name="mlp.shared_mlp"),
    )
    return _assembled(name, config, heads, modules, frame=Frame(tied=True))


def _with(config: Config, key: str) -> Config:
    return Config({**config.data, key: _same(config, key)}, config.path)


def _same(config: Config, key: str) -> int:
    """A number, or a list of the same number for each layer."""
    value = config.data.get(key)
    if not isinstance(value, list):
        return config.positive(key)
    if len(set(map(str, value))) != 1:
        raise ConfigError(f"`{config.path}{key}` differs from layer to layer, which is not accounted for")
    return Config({key: value[0]}, config.path).positive(key)


def flex_olmo(name: str, config: Config) -> Architecture:
    """FlexOlmoForCausalLM: norms behind attention and MLP, and over all of q and k."""
    heads, hidden = Heads.read(config), config.positive("hidden_size", default=4096)
    count, bias = config.positive("num_experts", default=7), config.flag("attention_bias")
    modules = (
        *norms(hidden, "post_attention_layernorm", "post_feedforward_layernorm"),
        Vector("self_attn.q_norm.weight", heads.query * heads.dim),
        Vector("self_attn.k_norm.weight", heads.kv * heads.dim),
        *attention(heads, hidden, qkv_bias=bias, out_bias=bias),
        router("mlp.gate", count, hidden),
        routed(config, count, config.positive("intermediate_size")),
    )
    return _assembled(name, config, heads, modules)


def mellum(name: str, config: Config) -> Architecture:
    """MellumForCausalLM: normalised heads, experts in every layer."""
    heads, hidden = Heads.read(config), config.positive("hidden_size")
    count, bias = config.positive("num_experts", default=64), config.flag("attention_bias")
    modules = (
        *norms(hidden, *_NORMS),
        *norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *attention(heads, hidden, qkv_bias=bias, out_bias=bias),
        router("mlp.gate", count, hidden),
        routed(config, count, config.positive("moe_intermediate_size")),
    )
    return _assembled(name, config, heads, modules)
