"""Pieces that mixture-of-experts decoders share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any

from compiler.checkpoints.architecture import Architecture, Experts, Layer, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.parts import Heads, dtype_of, embeddings, head, norms
from compiler.checkpoints.families.rotary import rotary_tables
from compiler.checkpoints.lengths import max_model_len


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the layers of a decoder.

    Attributes:
        heads: of its widest attention.
        width: of its widest dense projection.
        norm_bias, head_bias: whether its norms and its output head have biases.
        on_all_stages: whether every pipeline stage makes the embeddings, the last norm and the output head.
        ties: whether the engine's class heeds `tie_word_embeddings`.
        tied: what transformers takes it for where the config does not say.
    """

    heads: Heads
    hidden: int
    width: int
    norm_bias: bool = False
    head_bias: bool = False
    on_all_stages: bool = False
    ties: bool = False
    tied: bool = False

    @classmethod
    def read(
        cls,
        config: Config,
        width: int,
        heads: Heads | None = None,
        *,
        biases: bool = False,
        on_all_stages: bool = False,
        ties: bool = False,
    ) -> Frame:
        """`hidden_size` and the usual numbers of heads."""
        found = heads or Heads.read(config)
        return cls(found, config.positive("hidden_size"), width, biases, biases, on_all_stages, ties)

    def norms(self, *names: str) -> tuple[Module, ...]:
        """Norms of the hidden size, with biases where this decoder's have them."""
        biases = tuple(Vector(f"{name}.bias", self.hidden) for name in names) if self.norm_bias else ()
        return (*norms(self.hidden, *names), *biases)

    def architecture(self, name: str, config: Config, layers: tuple[Layer, ...]) -> Architecture:
        """The whole model."""
        vocab, tied = config.positive("vocab_size"), self.ties and config.flag("tie_word_embeddings", default=self.tied)
        head_bias = (Vector("lm_head.bias", vocab, Split.OUTPUTS),) if self.head_bias and not tied else ()
        first: tuple[Module, ...] = (embeddings(vocab, self.hidden),)
        last = (*self.norms("model.norm"), *head(vocab, self.hidden, tied=tied), *head_bias)
        return Architecture(
            name=name,
            layers=layers,
            first=() if self.on_all_stages else first,
            last=() if self.on_all_stages else last,
            everywhere=(*first, *last) if self.on_all_stages else (),
            hidden_size=self.hidden,
            intermediate_size=self.width,
            num_attention_heads=self.heads.query,
            num_kv_heads=self.heads.kv,
            head_dim=self.heads.dim,
            vocab_size=vocab,
            tie_word_embeddings=tied,
            max_model_len=max_model_len(config),
            checkpoint_dtype=dtype_of(config),
            rotary=rotary_tables(name, config, layers, self.heads.dim),
        )


_MOST_DRAFTING = 64
LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")


def router(
    name: str, count: int, hidden: int, *, dtype: str | None = None, bias: bool = False, quantized: bool = False
) -> Linear:
    """The gate that picks experts; nearly always out of the quantizers' reach."""
    return Linear(name, count, hidden, Split.REPLICATED, bias, quantized=quantized, dtype=dtype)


def score_bias(name: str, count: int) -> Vector:
    """The correction of the routers' scores, in 4 bytes."""
    return Vector(name, count, dtype="F32")


def routed(
    config: Config,
    count: int,
    width: int,
    name: str = "mlp.experts",
    *,
    top_k: str = "num_experts_per_tok",
    bias: bool = False,
    needs_rank_each: bool = False,
    engine_name: str | None = None,
    projections: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj"),
) -> Experts:
    """Experts of the hidden size."""
    hidden = config.positive("hidden_size")
    chosen = config.positive(top_k)
    if chosen > count:
        raise ConfigError(f"`{config.path}{top_k}` is {chosen} of {count} experts")
    return Experts(
        name,
        count,
        hidden,
        width,
        chosen,
        bias=bias,
        needs_rank_each=needs_rank_each,
        engine_name=engine_name,
        projections=projections,
    )


def layers_like(count: int, kind: Callable[[int], Hashable], build: Callable[..., Layer]) -> tuple[Layer, ...]:
    """Layers, of which those of one kind are one object: `build` is asked once for each kind."""
    known = cache(build)
    return tuple(known(kind(index)) for index in range(count))


def drafting_layers(config: Config, layer: Layer) -> tuple[Layer, ...]:
    """Multi-token prediction as DeepSeek stores it: a decoder's layer with tables and norms of its own around it."""
    count, hidden = config.count("num_nextn_predict_layers", default=0), config.positive("hidden_size")
    if count > _MOST_DRAFTING:
        raise ConfigError(f"`{config.path}num_nextn_predict_layers` is {count}: no model has so many")
    vocab = config.positive("vocab_size")
    modules = (
        *layer.modules,
        *norms(hidden, "enorm", "hnorm", "shared_head.norm"),
        Linear("eh_proj", hidden, 2 * hidden, Split.REPLICATED, quantized=False),
        Table("embed_tokens", vocab, hidden),
        Table("shared_head.head", vocab, hidden),
    )
    return (Layer(modules, layer.caches),) * count


def two_kinds(pattern: tuple[bool, ...], one: Layer, other: Layer) -> tuple[Layer, ...]:
    """Layers of two kinds, by a pattern that is true for the one."""
    return tuple(one if is_one else other for is_one in pattern)


def is_sparse_step(config: Config, count: int) -> tuple[bool, ...]:
    """Qwen's pattern: `decoder_sparse_step`, and `mlp_only_layers` for exceptions."""
    step, dense = config.positive("decoder_sparse_step", default=1), config.items("mlp_only_layers")
    return tuple(index not in dense and (index + 1) % step == 0 for index in range(count))


def from_first(config: Config, count: int) -> tuple[bool, ...]:
    """DeepSeek's pattern: `first_k_dense_replace` dense layers, then experts in each `moe_layer_freq`-th one."""
    dense, step = config.count("first_k_dense_replace", default=0), config.positive("moe_layer_freq", default=1)
    return tuple(index >= dense and index % step == 0 for index in range(count))


def shared_window(config: Config, count: int) -> int | None:
    """The window of attention layers that ask for none of their own (vllm/engine/arg_utils.py:create_engine_config).

    It is `sliding_window`, unless `layer_types` has layers of another kind.
    """
    if not config.data.get("sliding_window"):
        return None
    mixed = "layer_types" in config and set(config.per_layer("layer_types", count)) != {"sliding_attention"}
    return None if mixed else config.positive("sliding_window")


def is_experts_pattern(values: tuple[Any, ...], config: Config, key: str) -> tuple[bool, ...]:
    """`sparse` for layers with experts, `dense` for others."""
    unknown = {str(value) for value in values} - {"sparse", "dense"}
    if unknown:
        raise ConfigError(f"`{config.path}{key}` has the unknown kind {sorted(unknown)[0][:40]}")
    return tuple(value == "sparse" for value in values)
