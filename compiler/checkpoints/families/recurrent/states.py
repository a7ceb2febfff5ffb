"""Models of states alone, and the smaller hybrids: Mamba, Mamba 2, Zamba2, LFM2.

vllm/model_executor/models/{mamba,mamba2,zamba2,lfm2,lfm2_moe}.py of 0.33.0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from compiler.checkpoints.architecture import Architecture, Experts, Layer, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import CONVOLVED, check_activation
from compiler.checkpoints.families.parts import Heads, attention, embeddings, head, norms
from compiler.checkpoints.families.recurrent.hybrid import ATTENTION, STATE, kinds_of, model, rank_of, unscaled
from compiler.checkpoints.families.recurrent.mixers import Mamba2, Mixer, mamba1, short_conv, taps


def mamba(name: str, config: Config) -> Architecture:
    """MambaForCausalLM, and FalconMambaForCausalLM, which has norms without weights."""
    hidden = config.positive("hidden_size")
    mixer = mamba1(
        "mixer",
        hidden,
        inner=config.positive("intermediate_size", default=config.positive("expand", default=2) * hidden),
        state=config.positive("state_size", default=16),
        conv=taps(config, "conv_kernel", default=4),
        rank=rank_of(config, "time_step_rank", hidden),
        biases=(config.flag("use_conv_bias", default=True), config.flag("use_bias")),
        normed=False,
    )
    return _states_only(name, config, mixer, tied=config.flag("tie_word_embeddings", default=True))


def mamba2(name: str, config: Config) -> Architecture:
    """Mamba2ForCausalLM, which vLLM does not split over pipeline stages."""
    hidden = config.positive("hidden_size")
    heads, width = config.positive("num_heads", default=128), config.positive("head_dim", default=64)
    inner = config.positive("intermediate_size", default=config.positive("expand", default=2) * hidden)
    if heads * width != inner:
        raise ConfigError(f"`{config.path}num_heads` {heads} × head_dim {width} is not the inner width {inner}")
    mixer = Mamba2(
        inner=inner,
        heads=heads,
        head_dim=width,
        groups=config.positive("n_groups", default=8),
        state=config.positive("state_size", default=128),
        conv=taps(config, "conv_kernel", default=4),
        conv_bias=config.flag("use_conv_bias", default=True),
        bias=config.flag("use_bias"),
    ).mixer("mixer", hidden)
    return _states_only(name, config, mixer, tied=config.flag("tie_word_embeddings"), pipelined=False)


def _states_only(name: str, config: Config, mixer: Mixer, *, tied: bool, pipelined: bool = True) -> Architecture:
    check_activation(config, CONVOLVED)
    hidden, vocab = config.positive("hidden_size"), config.positive("vocab_size")
    layer = Layer((*mixer.modules, *norms(hidden, "norm")), (mixer.cache,))
    tables = (embeddings(vocab, hidden, "backbone.embeddings"), *norms(hidden, "backbone.norm_f"))
    return model(
        name,
        config,
        (layer,) * config.layers(),
        None,
        widths=(mixer.width,),
        everywhere=(*tables, *head(vocab, hidden, tied=tied)),
        tied=tied,
        prefix="backbone",
        pipelined=pipelined,
    )


def zamba2(name: str, config: Config) -> Architecture:
    """Zamba2ForCausalLM: Mamba 2, and before some layers one of a few shared blocks of attention and MLP.

    A shared block's weights are in memory once; each layer that uses it has a cache and adapters of its own.
    """
    check_activation(config, ("gelu",))
    hidden, vocab = config.positive("hidden_size"), config.positive("vocab_size")
    heads, mixer = _zamba_heads(config, hidden), _zamba_mamba(config, hidden)
    blocks = config.positive("num_mem_blocks", default=1)
    uses, layers = 0, []
    for kind in _zamba_kinds(config):
        if kind == STATE:
            layers.append(_zamba_layer(mixer, hidden, ""))
            continue
        shared = _shared_block(config, heads, hidden) if uses < blocks else ()
        modules = (*shared, *_adapters(config, heads, hidden), Linear("linear", hidden, hidden, Split.REPLICATED))
        inner = _zamba_layer(mixer, hidden, "mamba_decoder.")
        layers.append(Layer((*modules, *inner.modules), (unscaled(heads), *inner.caches)))
        uses += 1
    return model(
        name,
        config,
        _alike(layers),
        heads,
        widths=(mixer.width, config.positive("intermediate_size", default=4 * hidden)),
        first=(embeddings(vocab, hidden),),
        last=norms(hidden, "model.final_layernorm"),
        tied=True,
        pipelined=False,
        rotates=config.flag("use_mem_rope"),
    )


def _alike(layers: list[Layer]) -> tuple[Layer, ...]:
    known: dict[Layer, Layer] = {}
    return tuple(known.setdefault(layer, layer) for layer in layers)


def _zamba_kinds(config: Config) -> tuple[str, ...]:
    known = {"mamba": STATE, STATE: STATE, "hybrid": ATTENTION}
    return kinds_of(config, "layers_block_type", config.per_layer("layers_block_type", config.layers()), known)


def _zamba_heads(config: Config, hidden: int) -> Heads:
    query = config.positive("num_attention_heads", default=32)
    width = config.positive("attention_hidden_size", default=2 * hidden)
    if width % query:
        raise ConfigError(f"`{config.path}attention_hidden_size` {width} is not a multiple of {query} heads")
    if config.positive("num_key_value_heads", default=query) != query:
        raise ConfigError(f"`{config.path}num_key_value_heads` must be num_attention_heads {query}")
    return Heads(query, query, width // query)


def _zamba_mamba(config: Config, hidden: int) -> Mixer:
    inner, heads = config.positive("mamba_expand", default=2) * hidden, config.positive("n_mamba_heads", default=8)
    if inner % heads:
        raise ConfigError(f"`{config.path}n_mamba_heads` {heads} does not divide the inner width {inner}")
    return Mamba2(
        inner=inner,
        heads=heads,
        head_dim=inner // heads,
        groups=config.positive("mamba_ngroups", default=1),
        state=config.positive("mamba_d_state", default=64),
        conv=taps(config, "mamba_d_conv", default=4),
        conv_bias=config.flag("use_conv_bias", default=True),
        bias=config.flag("add_bias_linear"),
    ).mixer("mamba", hidden)


def _zamba_layer(mixer: Mixer, hidden: int, prefix: str) -> Layer:
    return Layer(_below(prefix, (*mixer.modules, *norms(hidden, "input_layernorm"))), (mixer.cache,))


def _below(prefix: str, modules: tuple[Module, ...]) -> tuple[Module, ...]:
    return tuple(dataclasses.replace(module, name=f"{prefix}{module.name}") for module in modules)


def _shared_block(config: Config, heads: Heads, hidden: int) -> tuple[Module, ...]:
    """Attention over the hidden states beside the embeddings, so of twice the width."""
    width, bias = config.positive("intermediate_size", default=4 * hidden), config.flag("add_bias_linear")
    inner, into = heads.query * heads.dim, Split.OUTPUTS
    query, key, value, _ = attention(heads, inner)
    modules = (
        query,
        key,
        value,
        Linear("self_attn.o_proj", hidden, inner, Split.INPUTS),
        Linear("feed_forward.gate_up_proj", 2 * width, hidden, into, bias, parts=2),
        Linear("feed_forward.down_proj", hidden, width, Split.INPUTS, bias),
        Vector("input_layernorm.weight", 2 * hidden),
        Vector("pre_ff_layernorm.weight", hidden),
    )
    return _below("shared_transformer.", modules)


def _adapters(config: Config, heads: Heads, hidden: int) -> Iterator[Module]:
    rank, inner = config.positive("adapter_rank", default=128), heads.query * heads.dim
    width, prefix = config.positive("intermediate_size", default=4 * hidden), "shared_transformer"
    if config.flag("use_shared_attention_adapter"):
        for part in "qkv":
            name = f"{prefix}.self_attn.linear_{part}_adapter_list"
            yield Linear(f"{name}.0", rank, inner, Split.OUTPUTS)
            yield Linear(f"{name}.1", inner, rank, Split.OUTPUTS)
    name = f"{prefix}.feed_forward.gate_up_proj_adapter_list"
    yield Linear(f"{name}.0", rank, hidden, Split.OUTPUTS)
    yield Linear(f"{name}.1", 2 * width, rank, Split.OUTPUTS, parts=2)


def lfm2(name: str, config: Config) -> Architecture:
    """Lfm2ForCausalLM: gated short convolutions and attention."""
    hidden, width = config.positive("hidden_size"), _lfm2_width(config)
    if (block := config.positive("block_dim")) != hidden:
        raise ConfigError(f"`{config.path}block_dim` {block} must be hidden_size {hidden}")
    if (conv := config.positive("conv_dim")) != hidden:
        raise ConfigError(f"`{config.path}conv_dim` {conv} must be hidden_size {hidden}")
    return _lfm2(name, config, tuple((kind, _lfm2_mlp(width, hidden)) for kind in _lfm2_kinds(config)), width)


def lfm2_moe(name: str, config: Config) -> Architecture:
    """Lfm2MoeForCausalLM: the same with routed experts after the first layers."""
    hidden, width = config.positive("hidden_size"), config.positive("intermediate_size", default=7168)
    dense, experts = config.count("num_dense_layers", default=2), tuple(_lfm2_experts(config, hidden))
    layers = tuple(
        (kind, _lfm2_mlp(width, hidden) if index < dense else experts) for index, kind in enumerate(_lfm2_kinds(config))
    )
    return dataclasses.replace(_lfm2(name, config, layers, width), needs_experts=True)


def _lfm2(name: str, config: Config, layers: tuple[tuple[str, tuple[Module, ...]], ...], width: int) -> Architecture:
    """The embeddings are on every stage, and are the output head whatever the config says."""
    hidden, vocab = config.positive("hidden_size"), config.positive("vocab_size")
    heads = Heads.read(config) if "head_dim" not in config else _lfm2_heads(config)
    mixer = short_conv("conv", hidden, taps(config, "conv_L_cache", default=3), bias=config.flag("conv_bias"))
    query, key, value, _ = attention(heads, hidden)
    attending = (
        query,
        key,
        value,
        Linear("self_attn.out_proj", hidden, heads.query * heads.dim, Split.INPUTS),
        *norms(heads.dim, "self_attn.q_layernorm", "self_attn.k_layernorm"),
    )

    def layer(kind: str, feed_forward: tuple[Module, ...]) -> Layer:
        common = (*feed_forward, *norms(hidden, "operator_norm", "ffn_norm"))
        if kind == STATE:
            return Layer((*mixer.modules, *common), (mixer.cache,))
        return Layer((*attending, *common), (unscaled(heads),))

    return model(
        name,
        config,
        _alike([layer(kind, feed_forward) for kind, feed_forward in layers]),
        heads,
        widths=(mixer.width, width),
        last=norms(hidden, "model.embedding_norm"),
        everywhere=(embeddings(vocab, hidden),),
        tied=True,
        rotates=True,
    )


def _lfm2_heads(config: Config) -> Heads:
    read = Heads.read(config)
    hidden = config.positive("hidden_size")
    if read.dim * read.query != hidden:
        raise ConfigError(f"`{config.path}head_dim` {read.dim} × {read.query} heads is not hidden_size {hidden}")
    return read


def _lfm2_kinds(config: Config) -> tuple[str, ...]:
    known, count = {"conv": STATE, "short_conv": STATE, ATTENTION: ATTENTION}, config.layers()
    if "layer_types" in config:
        return kinds_of(config, "layer_types", config.per_layer("layer_types", count), known)
    attending = config.items("full_attn_idxs")
    kinds = tuple(ATTENTION if index in attending else "conv" for index in range(count))
    return kinds_of(config, "full_attn_idxs", kinds, known)


def _lfm2_width(config: Config) -> int:
    """Width of the MLP, as Lfm2MLP rounds it."""
    width = config.positive("block_ff_dim", "intermediate_size", default=12288)
    if not config.flag("block_auto_adjust_ff_dim", default=True):
        return width
    factor, unit = config.data.get("block_ffn_dim_multiplier", 1.0), config.positive("block_multiple_of", default=256)
    if factor is None:
        factor = 1.0
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not 0 < factor <= _LARGEST_FACTOR:
        raise ConfigError(f"`{config.path}block_ffn_dim_multiplier` must be a positive number, not {str(factor)[:40]}")
    return unit * -(-int(factor * int(2 * width / 3)) // unit)


_LARGEST_FACTOR = 1024


def _lfm2_mlp(width: int, hidden: int) -> tuple[Module, ...]:
    fused = "feed_forward.w13"
    return (
        Linear("feed_forward.w1", width, hidden, Split.OUTPUTS, fused=fused),
        Linear("feed_forward.w3", width, hidden, Split.OUTPUTS, fused=fused),
        Linear("feed_forward.w2", hidden, width, Split.INPUTS),
    )


def _lfm2_experts(config: Config, hidden: int) -> Iterator[Module]:
    count, top_k = config.positive("num_experts", default=32), config.positive("num_experts_per_tok", default=4)
    yield Linear("feed_forward.gate", count, hidden, Split.REPLICATED, quantized=False)
    if config.flag("use_expert_bias", default=True):
        yield Vector("feed_forward.expert_bias", count, dtype="F32")
    yield Experts("feed_forward.experts", count, hidden, config.positive("moe_intermediate_size", default=1792), top_k)
