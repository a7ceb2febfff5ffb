"""Qwen's hybrids: gated delta nets, and an attention layer after every few of them.

vllm/model_executor/models/{qwen3_next,qwen3_5}.py of 0.33.0. The embeddings are on every pipeline stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from compiler.checkpoints.architecture import Architecture, Experts, Layer, Linear, Module, Split
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.parts import Heads, attention, dtype_of, embeddings, gated_mlp, head, norms
from compiler.checkpoints.families.recurrent.mixers import DeltaNet, state_dtype
from compiler.checkpoints.families.rotary import rotary_tables
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.lengths import max_model_len

_ATTENTION, _LINEAR = "full_attention", "linear_attention"

# Quantizers whose kernels want 64 rows on a rank, so that the narrow projections are not divided
# (qwen_gdn_linear_attn.py:maybe_disable_tp).
_WIDE_KERNELS = {"awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq", "auto-round", "inc"}

Inputs = Callable[[DeltaNet, int], tuple[Module, ...]]


def qwen3_next(name: str, config: Config) -> Architecture:
    """Qwen3NextForCausalLM: an output head of its own on every stage, whether or not the config ties it."""
    step, plain = config.positive("decoder_sparse_step", default=1), config.items("mlp_only_layers")
    experts = config.count("num_experts", default=512)
    sparse = tuple(experts > 0 and index not in plain and (index + 1) % step == 0 for index in range(config.layers()))
    vocab, hidden = config.positive("vocab_size"), config.positive("hidden_size")
    layers = _layers(config, _fused_inputs, None, sparse)
    architecture = _architecture(
        name,
        config,
        layers,
        everywhere=(embeddings(vocab, hidden), *head(vocab, hidden, tied=False)),
        last=norms(hidden, "model.norm"),
        tied=False,
    )
    return replace(architecture, needs_experts=True)


def qwen3_5(name: str, config: Config) -> Architecture:
    """Qwen3_5ForCausalLM, Qwen3_5MoeForCausalLM, and the language model of those with a vision tower.

    The language model's part of the config decides whether the embeddings are tied.
    """
    text = config.at("text_config") if "text_config" in config else config
    kind = text.text("model_type")
    if kind not in ("qwen3_5_text", "qwen3_5_moe_text"):
        raise ConfigError(f"`{text.path}model_type` must be qwen3_5_text or qwen3_5_moe_text, not {kind[:40]}")
    sparse = (kind == "qwen3_5_moe_text",) * text.layers()
    method = config.at("quantization_config").text("quant_method")
    inputs = _undivided_inputs if method in _WIDE_KERNELS else apart_inputs
    layers = _layers(text, inputs, state_dtype(text, "mamba_ssm_dtype"), sparse)
    vocab, hidden, tied = text.positive("vocab_size"), text.positive("hidden_size"), text.flag("tie_word_embeddings")
    return _architecture(
        name,
        text,
        layers,
        everywhere=(embeddings(vocab, hidden),),
        last=(*norms(hidden, "model.norm"), *head(vocab, hidden, tied=tied)),
        tied=tied,
    )


def _architecture(
    name: str,
    config: Config,
    layers: tuple[Layer, ...],
    *,
    everywhere: tuple[Module, ...],
    last: tuple[Module, ...],
    tied: bool,
) -> Architecture:
    check_activation(config, SILU)
    check_value(config, "output_gate_type", ("silu", "swish", "sigmoid"))
    heads, net = Heads.read(config), DeltaNet.read(config)
    widths = ("intermediate_size", "shared_expert_intermediate_size")
    return Architecture(
        name=name,
        layers=layers,
        first=(),
        last=last,
        everywhere=everywhere,
        hidden_size=config.positive("hidden_size"),
        intermediate_size=max(net.keys + net.values, *(config.count(key, default=0) for key in widths)),
        num_attention_heads=heads.query,
        num_kv_heads=heads.kv,
        head_dim=heads.dim,
        vocab_size=config.positive("vocab_size"),
        tie_word_embeddings=tied,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
        rotary=rotary_tables(name, config, layers, heads.dim),
    )


def _layers(config: Config, inputs: Inputs, dtype: str | None, sparse: tuple[bool, ...]) -> tuple[Layer, ...]:
    net, hidden = DeltaNet.read(config), config.positive("hidden_size")
    mixer = net.mixer("linear_attn", inputs(net, hidden), hidden, dtype)

    @cache
    def layer(kind: str, *, routed: bool) -> Layer:
        common = (*norms(hidden, "input_layernorm", "post_attention_layernorm"), *_feed_forward(config, routed=routed))
        if kind == _LINEAR:
            return Layer((*mixer.modules, *common), (mixer.cache,))
        return _attention_layer(config, common)

    return tuple(layer(kind, routed=routed) for kind, routed in zip(_kinds(config), sparse, strict=True))


def _kinds(config: Config) -> tuple[str, ...]:
    count = config.layers()
    if "layer_types" in config:
        kinds = config.per_layer("layer_types", count)
    else:
        interval = config.positive("full_attention_interval", default=4)
        kinds = tuple(_LINEAR if (index + 1) % interval else _ATTENTION for index in range(count))
    if unknown := [str(kind) for kind in kinds if kind not in (_ATTENTION, _LINEAR)]:
        raise ConfigError(f"`{config.path}layer_types` has the unknown kind {unknown[0][:40]}")
    if len(set(kinds)) == 1:
        raise ConfigError(f"`{config.path}layer_types` has layers of one kind only: no hybrid model")
    return kinds


def _attention_layer(config: Config, common: tuple[Module, ...]) -> Layer:
    """Queries come with a gate of the same width, in one tensor."""
    heads, hidden = Heads.read(config), config.positive("hidden_size")
    gated = Heads(2 * heads.query, heads.kv, heads.dim) if config.flag("attn_output_gate", default=True) else heads
    query, key, value, _ = attention(gated, hidden, qkv_bias=config.flag("qkv_bias"))
    output = Linear("self_attn.o_proj", hidden, heads.query * heads.dim, Split.INPUTS)
    scales = norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm")
    return Layer((query, key, value, output, *scales, *common), (heads.cache(),))


def _feed_forward(config: Config, *, routed: bool) -> tuple[Module, ...]:
    hidden = config.positive("hidden_size")
    if not routed:
        return gated_mlp(config.positive("intermediate_size"), hidden)
    return routed_experts(config)


def routed_experts(config: Config) -> tuple[Module, ...]:
    """Experts beside a shared one with a gate of its own (qwen3_next.py:Qwen3NextSparseMoeBlock)."""
    hidden = config.positive("hidden_size")
    count, shared = config.positive("num_experts"), config.count("shared_expert_intermediate_size", default=512)
    width, top_k = config.positive("moe_intermediate_size"), config.positive("num_experts_per_tok")
    return (
        Linear("mlp.gate", count, hidden, Split.REPLICATED, quantized=False),
        Linear("mlp.shared_expert_gate", 1, hidden, Split.REPLICATED, quantized=False),
        *(gated_mlp(shared, hidden, name="mlp.shared_expert") if shared else ()),
        Experts("mlp.experts", count, hidden, width, top_k),
    )


def _fused_inputs(net: DeltaNet, hidden: int) -> tuple[Module, ...]:
    """Qwen3-Next stores queries, keys, values and gates in one tensor, and the narrow projections in another."""
    outputs = 2 * (net.keys + net.values)
    return (
        Linear("linear_attn.in_proj_qkvz", outputs, hidden, Split.OUTPUTS),
        Linear("linear_attn.in_proj_ba", 2 * net.value_heads, hidden, Split.OUTPUTS),
    )


def apart_inputs(net: DeltaNet, hidden: int, split: Split = Split.OUTPUTS) -> tuple[Module, ...]:
    """Queries, keys and values are one tensor of three parts, which ranks divide one by one."""
    wide, narrow = "linear_attn.in_proj_qkvz", "linear_attn.in_proj_ba"
    stored = (net.keys, net.keys, net.values)
    return (
        *(Linear("linear_attn.in_proj_qkv", outputs, hidden, Split.OUTPUTS, fused=wide) for outputs in stored),
        Linear("linear_attn.in_proj_z", net.values, hidden, Split.OUTPUTS, fused=wide),
        Linear("linear_attn.in_proj_b", net.value_heads, hidden, split, fused=narrow),
        Linear("linear_attn.in_proj_a", net.value_heads, hidden, split, fused=narrow),
    )


def _undivided_inputs(net: DeltaNet, hidden: int) -> tuple[Module, ...]:
    return apart_inputs(net, hidden, Split.REPLICATED)
