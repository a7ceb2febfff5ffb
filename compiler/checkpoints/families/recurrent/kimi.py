"""Kimi Linear and the language model of Kimi K3: delta attention, and latent attention without positions.

vllm/models/kimi_k3/nvidia/model.py of 0.33.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from compiler.checkpoints.architecture import (
    Architecture,
    Experts,
    Layer,
    Linear,
    Module,
    Split,
    Vector,
)
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import check_activation
from compiler.checkpoints.families.latent.parts import LatentAttention
from compiler.checkpoints.families.parts import Heads, embeddings, gated_mlp, head, norms
from compiler.checkpoints.families.recurrent.hybrid import model
from compiler.checkpoints.families.recurrent.mixers import KimiDelta, taps
from compiler.checkpoints.families.terms import check_scoring

# Narrower slices of experts are padded (KimiMoE).
_LEAST_EXPERT_WIDTH = 256
_ROW_ALIGNMENT = 16
_LEAST_BOUND = -5  # vllm/models/kimi_k3/nvidia/kda.py:_KDA_GATE_LOGBOUND_MIN


def kimi_linear(name: str, config: Config) -> Architecture:
    """KimiLinearForCausalLM, which is the language model of Kimi K3 too."""
    hidden, vocab = config.positive("hidden_size"), config.positive("vocab_size")
    check_activation(config, ("silu", "situ"))
    delta, query = _delta(config), config.positive("num_attention_heads")
    mixer, latent, kinds = delta.mixer("self_attn", hidden), _latent(config), _kinds(config)
    attention, cached = latent.modules(), latent.latent_cache()
    residual = "attn_res_block_size" in config

    @cache
    def layer(recurrent: bool, routed: bool) -> Layer:  # noqa: FBT001
        common = (*_norms(hidden, residual=residual), *_feed_forward(config, hidden, routed=routed))
        if recurrent:
            return Layer((*mixer.modules, *common), (mixer.cache,))
        return Layer((*attention, *common), (cached,))

    last = (
        *norms(hidden, "model.norm"),
        *(_residual(hidden, "model.output_attn_res") if residual else ()),
        *head(vocab, hidden, tied=False),
    )
    return model(
        name,
        config,
        tuple(layer(recurrent, routed) for recurrent, routed in zip(kinds, _sparse(config), strict=True)),
        Heads(query, query, cached.width),
        widths=(mixer.width, config.positive("intermediate_size")),
        first=(embeddings(vocab, hidden),),
        last=last,
    )


def _kinds(config: Config) -> tuple[bool, ...]:
    """Which layers are recurrent; the config counts them from 1."""
    listed = config.at("linear_attn_config").items("kda_layers")
    count = config.layers()
    kinds = tuple(index + 1 in listed for index in range(count))
    if len(set(kinds)) == 1:
        raise ConfigError(f"`{config.path}linear_attn_config.kda_layers` leaves layers of one kind: no hybrid model")
    return kinds


def _is_bound(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _LEAST_BOUND <= value < 0


def _delta(config: Config) -> KimiDelta:
    linear = config.at("linear_attn_config")
    bound = linear.data.get("gate_lower_bound")
    if bound is not None and not _is_bound(bound):
        raise ConfigError(
            f"`{linear.path}gate_lower_bound` must be from {_LEAST_BOUND} to below 0, not {str(bound)[:40]}"
        )
    delta = KimiDelta(
        heads=linear.positive("num_heads"),
        head_dim=linear.positive("head_dim"),
        conv=taps(linear, "short_conv_kernel_size"),
        full_gate=linear.flag("use_full_rank_gate"),
        bounded="gate_lower_bound" in linear,
    )
    if delta.full_gate and delta.head_dim % _ROW_ALIGNMENT:
        raise ConfigError(f"`{linear.path}head_dim` {delta.head_dim} is no multiple of {_ROW_ALIGNMENT}")
    return delta


def _latent(config: Config) -> LatentAttention:
    """Latent attention, which may have a gate for its output; without `q_lora_rank` queries are projected at once."""
    if not config.flag("mla_use_nope"):
        raise ConfigError(f"`{config.path}mla_use_nope` must be true: vLLM has no latent attention with positions here")
    read = LatentAttention.read(Config({"q_lora_rank": None, **config.data}, config.path))
    return replace(read, gated=config.flag("mla_use_output_gate"))


def _norms(hidden: int, *, residual: bool) -> tuple[Module, ...]:
    plain = norms(hidden, "input_layernorm", "post_attention_layernorm")
    if not residual:
        return plain
    return (*plain, *_residual(hidden, "self_attention_res"), *_residual(hidden, "mlp_res"))


def _residual(hidden: int, name: str) -> tuple[Module, ...]:
    """What weighs the residuals of earlier blocks of layers."""
    return (
        *norms(hidden, f"{name}_norm"),
        Linear(f"{name}_proj", 1, hidden, Split.REPLICATED, quantized=False),
    )


def _sparse(config: Config) -> tuple[bool, ...]:
    dense, step = config.count("first_k_dense_replace", default=0), config.positive("moe_layer_freq", default=1)
    routed = "num_experts" in config
    return tuple(routed and index >= dense and index % step == 0 for index in range(config.layers()))


def _feed_forward(config: Config, hidden: int, *, routed: bool) -> tuple[Module, ...]:
    if not routed:
        return gated_mlp(config.positive("intermediate_size"), hidden)
    return tuple(_experts(config, hidden))


def _experts(config: Config, hidden: int) -> Iterator[Module]:
    name, count, width = "block_sparse_moe", config.positive("num_experts"), config.positive("moe_intermediate_size")
    check_scoring(config, "moe_router_activation_func")
    yield Linear(f"{name}.gate", count, hidden, Split.REPLICATED, quantized=False)
    yield Vector(f"{name}.gate.e_score_correction_bias", count, dtype="F32")
    if shared := config.count("num_shared_experts", default=0):
        yield from gated_mlp(width * shared, hidden, name=f"{name}.shared_experts")
    inner = config.positive("routed_expert_hidden_size", default=hidden)
    if "routed_expert_hidden_size" in config:
        yield Linear(f"{name}.routed_expert_down_proj", inner, hidden, Split.REPLICATED)
        yield Linear(f"{name}.routed_expert_up_proj", hidden, inner, Split.REPLICATED)
        if config.flag("latent_moe_use_norm"):
            yield from norms(inner, f"{name}.routed_expert_norm")
    least = config.positive("min_moe_intermediate_per_partition", default=_LEAST_EXPERT_WIDTH)
    top_k = config.positive("num_experts_per_token")
    yield Experts(f"{name}.experts", count, inner, width, top_k, least_width=least)
