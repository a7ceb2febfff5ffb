"""Gemma 3n: four streams of hidden states, inputs for each layer, and last layers that share earlier ones' caches.

vllm/model_executor/models/{gemma3n,gemma3n_mm}.py of 0.33.0; defaults are those of transformers' Gemma3nTextConfig.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import check_activation
from compiler.checkpoints.families.decoder import Frame, Sizes, assemble
from compiler.checkpoints.families.experts.parts import layers_like
from compiler.checkpoints.families.multimodal.composed import Renames, composed, text_config
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.families.towers.gemma3n import gemma3n_towers
from compiler.checkpoints.families.windows import SLIDING, layer_kinds, window_size

_DEFAULTS = {
    "vocab_size": 262400,
    "hidden_size": 2048,
    "intermediate_size": 16384,
    "num_hidden_layers": 35,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "max_position_embeddings": 32768,
    "model_type": "gemma3n_text",
}
_NAMES: Renames = (
    ("model.embed_audio.", "embed_audio."),
    ("model.embed_vision.", "embed_vision."),
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.audio_tower.", "audio_tower."),
    ("lm_head.", "language_model.lm_head."),
    ("model", "language_model.model"),
)
_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    "post_per_layer_input_norm",
)
_SHARED_LAYERS, _STREAMS, _INPUT_WIDTH, _RANK = 15, 4, 256, 64
_MOST_STREAMS = 64


def gemma3n(name: str, config: Config) -> Architecture:
    """Gemma3nForConditionalGeneration."""
    tied = config.flag("tie_word_embeddings", default=True)
    text = text_config(config, config.at("text_config"), _DEFAULTS, tied=tied)
    check_activation(text, ("gelu_pytorch_tanh",), "hidden_activation")
    check_value(text, "altup_correct_scale", (True,))
    alone, towers = _text(name, _one_width(text)), gemma3n_towers(config)
    # The engine keeps each layer's inputs of a whole batch from the start on.
    kept = len(alone.layers) * _input_width(text)
    return composed(alone, (replace(towers[0], batch_elements=kept), *towers[1:]), _NAMES)


def _one_width(config: Config) -> Config:
    """`intermediate_size` may be listed for each layer, of which the engine takes the first."""
    value = config.data.get("intermediate_size")
    if not isinstance(value, list) or not value:
        return config
    return Config({**config.data, "intermediate_size": value[0]}, config.path)


def _input_width(config: Config) -> int:
    return config.positive("hidden_size_per_layer_input", default=_INPUT_WIDTH)


def _text(name: str, config: Config) -> Architecture:
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    own = count - config.count("num_kv_shared_layers", default=_SHARED_LAYERS)
    if not 0 < own <= count:
        raise ConfigError(f"`{config.path}num_kv_shared_layers` leaves none of {count} layers with keys and values")
    typed = Config({**config.data, "model_type": _DEFAULTS["model_type"]}, config.path)
    kinds, window, streams = layer_kinds(typed, count) or (), window_size(typed), _streams(config)

    def build(kind: tuple[bool, bool]) -> Layer:
        is_sliding, shares = kind
        modules = (*_layer(config, sizes, streams), *_attention(heads, sizes.hidden, shares=shares))
        return Layer(modules, (replace(heads.cache(window if is_sliding else None), borrowed=shares),))

    layers = layers_like(count, lambda index: (kinds[index] == SLIDING, index >= own), build)
    whole = assemble(name, config, layers, heads, sizes, frame=Frame(on_every_stage=True, tied=True))
    return replace(
        whole,
        everywhere=(*whole.everywhere, *_tables(config, sizes.hidden, streams)),
        # All streams of the hidden states are alive beside the widest projection.
        intermediate_size=sizes.width + streams * sizes.hidden,
        pipelined=False,
    )


def _streams(config: Config) -> int:
    streams = config.positive("altup_num_inputs", default=_STREAMS)
    if streams > _MOST_STREAMS:
        raise ConfigError(f"`{config.path}altup_num_inputs` is {streams}: no model has so many")
    return streams


def _layer(config: Config, sizes: Sizes, streams: int) -> tuple[Module, ...]:
    hidden, width = sizes.hidden, _input_width(config)
    rank = config.positive("laurel_rank", default=_RANK)
    return (
        *norms(hidden, *_NORMS, "laurel.post_laurel_norm", "altup.router_norm"),
        *gated_mlp(sizes.width, hidden),
        Vector("altup.correct_output_scale", hidden, dtype="F32"),
        Linear("altup.correction_coefs", streams, streams, Split.REPLICATED),
        Linear("altup.prediction_coefs", streams**2, streams, Split.REPLICATED),
        Linear("altup.modality_router", streams, hidden, Split.REPLICATED),
        Linear("laurel.linear_left", rank, hidden, Split.OUTPUTS),
        Linear("laurel.linear_right", hidden, rank, Split.INPUTS),
        Linear("per_layer_input_gate", width, hidden, Split.REPLICATED),
        Linear("per_layer_projection", hidden, width, Split.REPLICATED),
    )


def _attention(heads: Heads, hidden: int, *, shares: bool) -> Iterator[Module]:
    """A layer that shares an earlier one's keys and values has neither."""
    query, *keys_and_values, out = attention(heads, hidden)
    yield from norms(heads.dim, "self_attn.q_norm")
    if shares:
        yield Linear("self_attn.q_proj", heads.query * heads.dim, hidden, Split.OUTPUTS)
    else:
        yield from (query, *keys_and_values, *norms(heads.dim, "self_attn.k_norm"))
    yield out


def _tables(config: Config, hidden: int, streams: int) -> tuple[Module, ...]:
    """Where the inputs of all layers come from, and what makes streams of one and one of them."""
    width = _input_width(config)
    columns = width * config.layers()
    rows = config.positive("vocab_size_per_layer_input", default=262144)
    names = ("model.altup_projections", "model.altup_unembed_projections")
    return (
        Table("model.embed_tokens_per_layer", rows, columns),
        Linear("model.per_layer_model_projection", columns, hidden, Split.OUTPUTS),
        *norms(width, "model.per_layer_projection_norm"),
        *(Linear(f"{name}.{index}", hidden, hidden, Split.OUTPUTS) for name in names for index in range(streams - 1)),
    )
