"""Hybrids of Mamba and attention: Nemotron-H, Granite 4, Falcon-H1, Jamba.

vllm/model_executor/models/{nemotron_h,granitemoehybrid,falcon_h1,jamba}.py of 0.33.0. Where a config leaves a key out,
the default is that of transformers' class, as in vLLM. Most of these models hold tables on every pipeline stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache

from compiler.checkpoints.architecture import Architecture, Experts, HeadCache, Layer, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError, kv_heads_of
from compiler.checkpoints.families.activations import CONVOLVED, PLAIN, SILU, check_activation
from compiler.checkpoints.families.parts import Heads, attention, dtype_of, embeddings, gated_mlp, head, norms
from compiler.checkpoints.families.recurrent.mixers import Mamba2, Mixer, mamba1, state_dtype, taps
from compiler.checkpoints.families.rotary import rotary_tables
from compiler.checkpoints.families.terms import check_groups
from compiler.checkpoints.lengths import max_model_len

ATTENTION, STATE = "full_attention", "linear_attention"
_LEGACY = {"attention": ATTENTION, "mamba": STATE}


def model(
    name: str,
    config: Config,
    layers: tuple[Layer, ...],
    heads: Heads | None,
    *,
    widths: tuple[int, ...],
    first: tuple[Module, ...] = (),
    last: tuple[Module, ...] = (),
    everywhere: tuple[Module, ...] = (),
    tied: bool = False,
    prefix: str = "model",
    renames: tuple[tuple[str, str], ...] = (),
    pipelined: bool = True,
    rotates: bool = False,
) -> Architecture:
    """A model of states, with attention or without.

    Args:
        widths: of its projections.
        rotates: whether its attention has rotary positions.
    """
    return Architecture(
        name=name,
        layers=layers,
        first=first,
        last=last,
        everywhere=everywhere,
        hidden_size=config.positive("hidden_size"),
        intermediate_size=max(widths),
        num_attention_heads=heads.query if heads else 0,
        num_kv_heads=heads.kv if heads else 0,
        head_dim=heads.dim if heads else 0,
        vocab_size=config.positive("vocab_size"),
        tie_word_embeddings=tied,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
        rotary=rotary_tables(name, config, layers, heads.dim) if heads and rotates else (),
        layer_prefix=f"{prefix}.layers",
        renames=renames,
        pipelined=pipelined,
    )


def stack(kinds: tuple[str, ...], build: Callable[[str], Layer]) -> tuple[Layer, ...]:
    """A layer of each kind, where those of one kind are the same."""
    built = cache(build)
    return tuple(built(kind) for kind in kinds)


def unscaled(heads: Heads) -> HeadCache:
    """The cache of an attention that the engine does not tell of a quantizer."""
    return replace(heads.cache(), scaled=False)


def kinds_of(config: Config, key: str, kinds: tuple[object, ...], known: Mapping[str, str]) -> tuple[str, ...]:
    """Kinds of layers by today's names. States without attention, or attention without states, is no hybrid."""
    named: list[str] = []
    for kind in kinds:
        if not isinstance(kind, str) or kind not in known:
            raise ConfigError(f"`{config.path}{key}` has the unknown kind {str(kind)[:40]}")
        named.append(known[kind])
    if missing := {ATTENTION, STATE} - set(named):
        raise ConfigError(f"`{config.path}{key}` has no layer of {missing.pop()}: no hybrid model")
    return tuple(named)


_PATTERN = {"M": STATE, "E": "moe", "*": ATTENTION, "-": "mlp"}
_NEMOTRON_KINDS = {**_LEGACY, STATE: STATE, ATTENTION: ATTENTION, "moe": "moe", "mlp": "mlp"}


def nemotron_h(name: str, config: Config) -> Architecture:
    """NemotronHForCausalLM: every layer is one of Mamba 2, attention, MLP or routed experts.

    The embeddings, the last norm and an output head of its own are on every stage.
    """
    hidden, vocab = config.positive("hidden_size"), config.positive("vocab_size")
    check_activation(config, PLAIN, "mlp_hidden_act")
    check_activation(config, CONVOLVED, "mamba_hidden_act")
    heads, mamba, kinds = _nemotron_heads(config), _nemotron_mamba(config), _nemotron_kinds(config)
    mixer, window = mamba.mixer("mixer", hidden), config.count("sliding_window", default=0) or None

    def layer(kind: str) -> Layer:
        norm = norms(hidden, "norm")
        if kind == STATE:
            return Layer((*mixer.modules, *norm), (mixer.cache,))
        if kind == ATTENTION:
            return Layer((*attention(heads, hidden, name="mixer"), *norm), (heads.cache(window),))
        return Layer((*(_nemotron_moe(config) if kind == "moe" else _nemotron_mlp(config)), *norm), ())

    tables = (embeddings(vocab, hidden), *norms(hidden, "model.norm_f"))
    dense = config.positive("intermediate_size", default=1) if "mlp" in kinds else 1
    architecture = model(
        name,
        config,
        stack(kinds, layer),
        heads,
        widths=(mixer.width, dense),
        everywhere=(*tables, *head(vocab, hidden, tied=False)),
        renames=(
            ("backbone.embeddings.", "model.embed_tokens."),
            ("model.embeddings.", "model.embed_tokens."),
            ("backbone.", "model."),
        ),
    )
    return replace(architecture, needs_experts="moe" in kinds)


def _nemotron_kinds(config: Config) -> tuple[str, ...]:
    key = next((key for key in ("layers_block_type", "layer_types") if key in config), "hybrid_override_pattern")
    if key in ("layers_block_type", "layer_types"):
        return kinds_of(config, key, config.items(key), _NEMOTRON_KINDS)
    if not (pattern := config.text(key)):
        raise ConfigError(f"`{config.path}{key}` is missing")
    _bounded(config, key, len(pattern))
    return kinds_of(config, key, tuple(pattern), _PATTERN)


_MAX_LAYERS = 4096


def _bounded(config: Config, key: str, count: int) -> None:
    if count > _MAX_LAYERS:
        raise ConfigError(f"`{config.path}{key}` has {count} layers: no model has so many")


def _nemotron_heads(config: Config) -> Heads:
    query = config.positive("num_attention_heads", default=32)
    kv_heads = config.positive("num_key_value_heads", default=8)
    if query % kv_heads:
        raise ConfigError(
            f"`{config.path}num_attention_heads` {query} is not a multiple of num_key_value_heads {kv_heads}"
        )
    return Heads(query, kv_heads, config.positive("head_dim", default=128))


def _nemotron_mamba(config: Config) -> Mamba2:
    heads, width = config.positive("mamba_num_heads", default=128), config.positive("mamba_head_dim", default=64)
    bias_key = "mamba_conv_bias" if "mamba_conv_bias" in config else "use_conv_bias"
    return Mamba2(
        inner=heads * width,
        heads=heads,
        head_dim=width,
        groups=config.positive("mamba_n_groups", "n_groups", default=8),
        state=config.positive("ssm_state_size", default=128),
        conv=taps(config, "mamba_d_conv", "conv_kernel", default=4),
        conv_bias=config.flag(bias_key, default=True),
        bias=config.flag("use_bias"),
        dtype=state_dtype(config, "mamba_ssm_cache_dtype", "float32"),
    )


def _nemotron_mlp(config: Config) -> tuple[Module, ...]:
    width, hidden = config.positive("intermediate_size", default=21504), config.positive("hidden_size")
    return _two_layers("mixer", width, hidden, bias=config.flag("mlp_bias"))


def _two_layers(name: str, width: int, hidden: int, *, bias: bool) -> tuple[Module, ...]:
    return (
        Linear(f"{name}.up_proj", width, hidden, Split.OUTPUTS, bias),
        Linear(f"{name}.down_proj", hidden, width, Split.INPUTS, bias),
    )


def _nemotron_moe(config: Config) -> tuple[Module, ...]:
    hidden, count = config.positive("hidden_size"), config.positive("n_routed_experts", default=8)
    check_groups(config, count)
    check_activation(config, ("gelu", "relu2", "silu"), "mlp_hidden_act")
    inner, bias = config.positive("moe_latent_size", default=hidden), config.flag("mlp_bias")
    shared = config.count("n_shared_experts", default=1) * config.positive(
        "moe_shared_expert_intermediate_size", default=7688
    )
    width, top_k = (
        config.positive("moe_intermediate_size", default=7688),
        config.positive("num_experts_per_tok", default=2),
    )
    latent = "moe_latent_size" in config
    return (
        Linear("mixer.gate", count, hidden, Split.REPLICATED, quantized=False),
        Vector("mixer.gate.e_score_correction_bias", count, dtype="F32"),
        *(_two_layers("mixer.shared_experts", shared, hidden, bias=False) if shared else ()),
        *((Linear("mixer.fc1_latent_proj", inner, hidden, Split.REPLICATED, bias),) if latent else ()),
        *((Linear("mixer.fc2_latent_proj", hidden, inner, Split.REPLICATED, bias),) if latent else ()),
        Experts("mixer.experts", count, inner, width, top_k, gated=False),
    )


def granite_hybrid(name: str, config: Config) -> Architecture:
    """GraniteMoeHybridForCausalLM: Mamba 2 or attention, then routed experts, a shared MLP, or both.

    granite-4.0-micro has attention only. The tables are on every stage.
    """
    hidden, vocab, tied = (
        config.positive("hidden_size"),
        config.positive("vocab_size"),
        config.flag("tie_word_embeddings"),
    )
    check_activation(config, SILU if config.count("shared_intermediate_size", default=1024) else CONVOLVED)
    heads, mixer = square_heads(config), _granite_mamba(config).mixer("mamba", hidden)
    feed_forward, bias = tuple(_granite_feed_forward(config, hidden)), config.flag("attention_bias")

    def layer(kind: str) -> Layer:
        common = (*norms(hidden, "input_layernorm", "post_attention_layernorm"), *feed_forward)
        if kind == STATE:
            return Layer((*mixer.modules, *common), (mixer.cache,))
        return Layer((*attention(heads, hidden, qkv_bias=bias, out_bias=bias), *common), (heads.cache(),))

    kinds = _granite_kinds(config)
    widths = (mixer.width if STATE in kinds else 1, config.count("shared_intermediate_size", default=1024), 1)
    tables = (embeddings(vocab, hidden), *norms(hidden, "model.norm"), *head(vocab, hidden, tied=tied))
    rotates = config.text("position_embedding_type") == "rope"
    layers = stack(kinds, layer)
    return model(name, config, layers, heads, widths=widths, everywhere=tables, tied=tied, rotates=rotates)


def _granite_kinds(config: Config) -> tuple[str, ...]:
    count = config.layers()
    key = "layer_types" if "layer_types" in config else "layers_block_type"
    kinds = config.per_layer(key, count)
    known = {**_LEGACY, STATE: STATE, ATTENTION: ATTENTION}
    if all(kind in ("attention", ATTENTION) for kind in kinds):
        return (ATTENTION,) * count
    return kinds_of(config, key, kinds, known)


def square_heads(config: Config) -> Heads:
    """Heads that divide the hidden size, whatever `head_dim` says."""
    hidden, query = config.positive("hidden_size"), config.positive("num_attention_heads")
    if hidden % query:
        raise ConfigError(f"`{config.path}hidden_size` {hidden} is not a multiple of num_attention_heads {query}")
    return Heads(query, kv_heads_of(config, query), hidden // query)


def _mamba2(config: Config, inner: int, *, default_state: int, normed: bool = True) -> Mamba2:
    """The `mamba_*` keys that several families share."""
    heads = config.positive("mamba_n_heads", default=128)
    width = inner // heads if config.data.get("mamba_d_head", "auto") == "auto" else config.positive("mamba_d_head")
    if heads * width != inner:
        raise ConfigError(f"`{config.path}mamba_n_heads` {heads} × mamba_d_head {width} is not the inner width {inner}")
    return Mamba2(
        inner=inner,
        heads=heads,
        head_dim=width,
        groups=config.positive("mamba_n_groups", default=1),
        state=config.positive("mamba_d_state", default=default_state),
        conv=taps(config, "mamba_d_conv", default=4),
        conv_bias=config.flag("mamba_conv_bias", default=True),
        bias=config.flag("mamba_proj_bias"),
        normed=normed,
    )


def _granite_mamba(config: Config) -> Mamba2:
    inner = config.positive("mamba_expand", default=2) * config.positive("hidden_size")
    return _mamba2(config, inner, default_state=256)


def _granite_feed_forward(config: Config, hidden: int) -> Iterator[Module]:
    if count := config.count("num_local_experts", default=8):
        width, top_k = config.positive("intermediate_size"), config.positive("num_experts_per_tok", default=2)
        yield Linear("block_sparse_moe.router.layer", count, hidden, Split.REPLICATED, quantized=False)
        yield Experts("block_sparse_moe", count, hidden, width, top_k)
    if shared := config.count("shared_intermediate_size", default=1024):
        yield Linear("shared_mlp.input_linear", 2 * shared, hidden, Split.OUTPUTS, parts=2)
        yield Linear("shared_mlp.output_linear", hidden, shared, Split.INPUTS)


def falcon_h1(name: str, config: Config) -> Architecture:
    """FalconH1ForCausalLM: attention and Mamba 2 side by side in each layer."""
    hidden, vocab, tied = (
        config.positive("hidden_size"),
        config.positive("vocab_size"),
        config.flag("tie_word_embeddings"),
    )
    check_activation(config, SILU)
    for key, count in (("mlp_multipliers", 2), ("ssm_multipliers", 5)):
        if key in config and len(config.items(key)) != count:
            raise ConfigError(f"`{config.path}{key}` must have {count} numbers, not {len(config.items(key))}")
    heads, width = Heads.read(config), config.positive("intermediate_size")
    inner = config.positive("mamba_d_ssm", default=config.positive("mamba_expand", default=2) * hidden)
    mixer = _mamba2(config, inner, default_state=256, normed=config.flag("mamba_rms_norm")).mixer("mamba", hidden)
    layer = Layer(
        (
            *norms(hidden, "input_layernorm", "pre_ff_layernorm"),
            *attention(heads, hidden),
            *mixer.modules,
            *gated_mlp(width, hidden, name="feed_forward"),
        ),
        (heads.cache(), mixer.cache),
    )
    return model(
        name,
        config,
        (layer,) * config.layers(),
        heads,
        widths=(mixer.width, width),
        first=(embeddings(vocab, hidden),),
        last=(*norms(hidden, "model.final_layernorm"), *head(vocab, hidden, tied=tied)),
        tied=tied,
        rotates=True,
    )


def jamba(name: str, config: Config) -> Architecture:
    """JambaForCausalLM: Mamba with an attention layer now and then; routed experts now and then.

    The tables are on every stage, with an output head of its own.
    """
    hidden, vocab, width = (
        config.positive("hidden_size"),
        config.positive("vocab_size"),
        config.positive("intermediate_size"),
    )
    check_activation(config, SILU)
    heads, mixer, count = square_heads(config), _jamba_mamba(config, hidden), config.layers()
    common = norms(hidden, "input_layernorm", "pre_ff_layernorm")

    @cache
    def layer(attends: bool, routed: bool) -> Layer:  # noqa: FBT001
        feed_forward = (
            _jamba_experts(config, hidden, width) if routed else gated_mlp(width, hidden, name="feed_forward")
        )
        if attends:
            return Layer((*attention(heads, hidden), *feed_forward, *common), (unscaled(heads),))
        return Layer((*mixer.modules, *feed_forward, *common), (mixer.cache,))

    experts = config.positive("num_experts", default=16) > 1
    attends = _every(config, "attn_layer_period", "attn_layer_offset", count, (8, 4))
    routed = _every(config, "expert_layer_period", "expert_layer_offset", count, (2, 1))
    if len(set(attends)) == 1:
        raise ConfigError(f"`{config.path}attn_layer_period` gives layers of one kind only: no hybrid model")
    tables = (embeddings(vocab, hidden), *norms(hidden, "model.final_layernorm"), *head(vocab, hidden, tied=False))
    layers = tuple(layer(attend, experts and route) for attend, route in zip(attends, routed, strict=True))
    return model(name, config, layers, heads, widths=(mixer.width, width), everywhere=tables)


def _every(config: Config, period: str, offset: str, count: int, defaults: tuple[int, int]) -> tuple[bool, ...]:
    every, start = config.positive(period, default=defaults[0]), config.count(offset, default=defaults[1])
    if start >= every:
        raise ConfigError(f"`{config.path}{offset}` {start} must be smaller than {period} {every}")
    return tuple(index % every == start for index in range(count))


def rank_of(config: Config, key: str, hidden: int) -> int:
    """The width of a time step's projection; `auto` is a sixteenth of the hidden size."""
    if config.data.get(key, "auto") == "auto":
        return math.ceil(hidden / 16)
    return config.positive(key)


def _jamba_mamba(config: Config, hidden: int) -> Mixer:
    return mamba1(
        "mamba",
        hidden,
        inner=config.positive("mamba_expand", default=2) * hidden,
        state=config.positive("mamba_d_state", default=16),
        conv=taps(config, "mamba_d_conv", default=4),
        rank=rank_of(config, "mamba_dt_rank", hidden),
        biases=(config.flag("mamba_conv_bias", default=True), config.flag("mamba_proj_bias")),
        normed=True,
    )


def _jamba_experts(config: Config, hidden: int, width: int) -> tuple[Module, ...]:
    count, top_k = config.positive("num_experts", default=16), config.positive("num_experts_per_tok", default=2)
    return (
        Linear("feed_forward.router", count, hidden, Split.REPLICATED, quantized=False),
        Experts("feed_forward.experts", count, hidden, width, top_k),
    )
