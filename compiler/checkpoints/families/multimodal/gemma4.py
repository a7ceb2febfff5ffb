"""Gemma 4: wide heads in full layers, narrow ones in windows, experts beside the dense MLP, inputs for each layer.

vllm/model_executor/models/{gemma4,gemma4_mm,gemma4_unified}.py of 0.33.0; defaults are those of transformers'
Gemma4TextConfig and Gemma4UnifiedTextConfig.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from compiler.checkpoints.architecture import Architecture, Encoder, Layer, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError, kv_heads_of
from compiler.checkpoints.families.activations import GATED, check_activation
from compiler.checkpoints.families.decoder import Frame, Sizes, assemble
from compiler.checkpoints.families.experts.parts import layers_like, routed, router
from compiler.checkpoints.families.multimodal.composed import Renames, composed, on_every_stage, text_config
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.towers.gemma4 import gemma4_towers, gemma4_unified_embedders
from compiler.checkpoints.families.windows import FULL, SLIDING, layer_kinds

_DEFAULTS = {
    "vocab_size": 262144,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 30,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
}
_UNIFIED = {
    **_DEFAULTS,
    "max_position_embeddings": 262144,
    "sliding_window": 1024,
    "hidden_size_per_layer_input": 0,
}
_NAMES: Renames = (
    ("model.vision_tower", "vision_tower"),
    ("model.embed_vision", "embed_vision"),
    ("model.audio_tower.", "audio_tower."),
    ("model.embed_audio.", "embed_audio."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
    ("model", "language_model.model"),
)
_UNIFIED_NAMES: Renames = (
    ("model.embed_audio.", "embed_audio."),
    ("model.embed_vision.", "embed_vision."),
    ("model.language_model.", "language_model.model."),
    ("model.vision_embedder.", "vision_embedder."),
    ("lm_head.", "language_model.lm_head."),
    ("model", "language_model.model"),
)
# transformers refuses these where they are null (Gemma4TextConfig is strict).
_NUMBERS = (
    *_DEFAULTS,
    "global_head_dim",
    "hidden_size_per_layer_input",
    "num_kv_shared_layers",
    "sliding_window",
    "vocab_size_per_layer_input",
)
_NORMS = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
_EXPERT_NORMS = ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "pre_feedforward_layernorm_2")
_FRAME = Frame(on_every_stage=True, tied=True)
_FULL_HEAD_DIM, _WINDOW, _INPUT_WIDTH = 512, 512, 256


def gemma4(name: str, config: Config) -> Architecture:
    """Gemma4ForConditionalGeneration."""
    return _composed(name, config, gemma4_towers, _NAMES, _DEFAULTS)


def gemma4_unified(name: str, config: Config) -> Architecture:
    """Gemma4UnifiedForConditionalGeneration: the same decoder, with embedders on every stage instead of towers."""
    whole = _composed(name, config, gemma4_unified_embedders, _UNIFIED_NAMES, _UNIFIED)
    modules = (module for encoder in whole.encoders for module in encoder.modules)
    bare = tuple(replace(encoder, modules=()) for encoder in whole.encoders)
    return replace(on_every_stage(whole, modules), encoders=bare)


def _composed(
    name: str, config: Config, read: Callable[[Config], tuple[Encoder, ...]], names: Renames, defaults: dict[str, int]
) -> Architecture:
    if "vision_config" not in config:
        raise ConfigError("`vision_config` is missing: vLLM builds this class with it only")
    tied = config.flag("tie_word_embeddings", default=True)
    text = _with_defaults(config, config.at("text_config"), defaults, tied=tied)
    alone, towers = _text(name, text), read(config)
    # The engine keeps each layer's inputs of a whole batch from the start on.
    kept = len(alone.layers) * _input_width(text)
    return composed(alone, (replace(towers[0], batch_elements=kept), *towers[1:]), names)


def gemma4_text(name: str, config: Config) -> Architecture:
    """Gemma4ForCausalLM, of a text model's config or of one that holds towers too, which are not served."""
    nested = config.at("text_config") if "text_config" in config else config
    text = _with_defaults(config, nested, _DEFAULTS, tied=nested.flag("tie_word_embeddings", default=True))
    return replace(_text(name, text), renames=(("model.language_model.", "model."),))


def _with_defaults(config: Config, nested: Config, defaults: dict[str, int], *, tied: bool) -> Config:
    absent = next((key for key in _NUMBERS if key in nested.data and nested.data[key] is None), None)
    if absent is not None:
        raise ConfigError(f"`{nested.path}{absent}` must be a number, not null")
    text = text_config(config, nested, defaults, tied=tied)
    return Config({**text.data, "model_type": "gemma4_text"}, text.path)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What layers differ in; `shares` an earlier layer's keys and values."""

    sliding: bool
    shares: bool


def _text(name: str, config: Config) -> Architecture:
    if config.text("use_bidirectional_attention") == "all":
        raise ConfigError(f"`{config.path}use_bidirectional_attention` all is an encoder's, which stackc does not know")
    check_activation(config, GATED, "hidden_activation")
    sizes, kinds = Sizes.read(config), _kinds(config)
    heads, inputs = {sliding: _heads(config, sliding=sliding) for sliding in (True, False)}, _input_width(config)
    window = config.positive("sliding_window", default=_WINDOW)
    wide = 2 if config.flag("use_double_wide_mlp") else 1
    common = (*_experts(config, sizes.hidden), *_layer_inputs(sizes.hidden, inputs))

    def build(kind: _Kind) -> Layer:
        own = heads[kind.sliding]
        modules = (
            *norms(sizes.hidden, *_NORMS),
            *_attention(config, own, sizes.hidden, shares=kind.shares),
            *gated_mlp(sizes.width * (wide if kind.shares else 1), sizes.hidden),
            *common,
        )
        cache = own.cache(window if kind.sliding else None)
        return Layer(modules, (replace(cache, borrowed=kind.shares),))

    layers = layers_like(len(kinds), lambda index: kinds[index], build)
    widest = replace(sizes, width=sizes.width * (wide if kinds[-1].shares else 1))
    architecture = assemble(name, config, layers, heads[False], widest, frame=_FRAME)
    tables = _tables(config, sizes.hidden, inputs * len(kinds), inputs)
    return replace(architecture, everywhere=(*architecture.everywhere, *tables))


def _kinds(config: Config) -> tuple[_Kind, ...]:
    """The last layer sees everything whatever the config says, and so many last ones own no keys and values."""
    count = config.layers()
    types = (*(layer_kinds(config, count) or ())[:-1], FULL)
    own = count - config.count("num_kv_shared_layers", default=0)
    if not 0 < own <= count:
        raise ConfigError(f"`{config.path}num_kv_shared_layers` leaves none of {count} layers with keys and values")
    if lacking := set(types[own:]) - set(types[:own]):
        kind = sorted(lacking)[0]
        raise ConfigError(f"`{config.path}num_kv_shared_layers`: no layer before them is of kind {kind} to share with")
    return tuple(_Kind(kind == SLIDING, index >= own) for index, kind in enumerate(types))


def _heads(config: Config, *, sliding: bool) -> Heads:
    if "per_layer_config" in config:
        raise ConfigError(f"`{config.path}per_layer_config` is not something stackc knows")
    query = config.positive("num_attention_heads")
    if sliding:
        return Heads(query, kv_heads_of(config, query), config.positive("head_dim"))
    kv = kv_heads_of(config, query)
    if config.flag("attention_k_eq_v"):
        kv = config.positive("num_global_key_value_heads", default=kv)
    if query % kv:
        raise ConfigError(f"`{config.path}num_global_key_value_heads` {kv} does not divide {query} attention heads")
    return Heads(query, kv, config.positive("global_head_dim", default=_FULL_HEAD_DIM))


def _attention(config: Config, heads: Heads, hidden: int, *, shares: bool) -> Iterator[Module]:
    """Keys serve as values too where the config has it so, but the engine keeps both; a sharing layer has neither."""
    bias = config.flag("attention_bias")
    query, *keys_and_values, out = attention(heads, hidden, qkv_bias=bias, out_bias=bias)
    yield from norms(heads.dim, "self_attn.q_norm")
    if shares:
        yield Linear("self_attn.q_proj", heads.query * heads.dim, hidden, Split.OUTPUTS, bias)
    else:
        yield from (query, *keys_and_values, *norms(heads.dim, "self_attn.k_norm"))
    yield out


def _experts(config: Config, hidden: int) -> tuple[Module, ...]:
    if "num_experts" not in config:
        return ()
    count = config.positive("num_experts")
    return (
        *norms(hidden, *_EXPERT_NORMS),
        Vector("router.scale", hidden),
        Vector("router.per_expert_scale", count),
        router("router.proj", count, hidden),
        routed(config, count, config.positive("moe_intermediate_size"), "experts", top_k="top_k_experts"),
    )


def _input_width(config: Config) -> int:
    """Of what each layer reads of a token beside its hidden state; 0 for nothing."""
    return config.count("hidden_size_per_layer_input", default=_INPUT_WIDTH)


def _layer_inputs(hidden: int, width: int) -> tuple[Module, ...]:
    if not width:
        return ()
    return (
        Linear("per_layer_input_gate", width, hidden, Split.REPLICATED),
        Linear("per_layer_projection", hidden, width, Split.REPLICATED),
        *norms(hidden, "post_per_layer_input_norm"),
    )


def _tables(config: Config, hidden: int, columns: int, width: int) -> tuple[Module, ...]:
    """Where the inputs of all layers come from, on every stage."""
    if not width:
        return ()
    rows = config.positive("vocab_size_per_layer_input", default=_DEFAULTS["vocab_size"])
    return (
        Table("model.embed_tokens_per_layer", rows, columns),
        Linear("model.per_layer_model_projection", columns, hidden, Split.OUTPUTS),
        *norms(width, "model.per_layer_projection_norm"),
    )
