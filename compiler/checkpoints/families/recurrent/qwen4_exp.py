"""Qwen4-Exp: delta nets and attention that an indexer picks tokens for, with gated streams and n-gram embeddings.

vllm/models/qwen4_exp/nvidia/{model,qsa,indexer_qsa,hyperconnection,ple_layer,ngram_embedding}.py of 0.33.0. Layers for
drafting (`mtp.`) are not served. N-gram tables are counted on the GPU, where the launcher has vLLM keep them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from compiler.checkpoints.architecture import (
    Architecture,
    Cache,
    Layer,
    Linear,
    Module,
    Split,
    Table,
    Vector,
)
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.ngrams import ngram_rows
from compiler.checkpoints.families.parts import Heads, attention, dtype_of, embeddings, norms
from compiler.checkpoints.families.recurrent.mixers import DeltaNet, state_dtype, taps
from compiler.checkpoints.families.recurrent.qwen import apart_inputs, routed_experts
from compiler.checkpoints.families.rotary import rotary_tables
from compiler.checkpoints.families.terms import check_present, check_value
from compiler.checkpoints.lengths import max_model_len
from compiler.checkpoints.pooled_cache import DEFAULT_BLOCK, PooledKeyCache, RingCache
from compiler.checkpoints.state_cache import StateCache, StatePart

_LINEAR, _INDEXED = "linear_attention", "indexed_attention"
# transformers' Qwen4ExpTextConfig 5.19.
_DEFAULTS = {
    "vocab_size": 248320, "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
    "num_key_value_heads": 2, "head_dim": 256, "hidden_act": "silu", "max_position_embeddings": 32768,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16,
    "linear_num_value_heads": 32, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
    "num_experts_per_tok": 10, "num_experts": 512, "hc_count": 4, "hc_lowrank": 320,
}  # fmt: skip
_INDEXER = ("indexer_n_heads", "indexer_kv_heads", "indexer_head_dim", "indexer_budget", "indexer_compress_ratio")
_BFLOAT16 = "BF16"
_MOST_HEADS = 1024  # of a layer: a prime is looked for, for each
_MIXING_ROWS = 16  # hyperconnection.py: the merged projection is padded to a multiple of it
_AXES, _POSITION = 3, 4  # int64 positions, in elements of 16 bits (qsa_cache.py:QSAKeyStateCache)


@dataclass(frozen=True, slots=True)
class _Streams:
    """Hidden states side by side, of which each block gets a gated mean (hyperconnection.py:GatedResidual)."""

    count: int
    hidden: int
    rank: int

    @property
    def width(self) -> int:
        """Of all streams."""
        return self.count * self.hidden

    def mixing(self, name: str, *, injects: bool = True) -> tuple[Module, ...]:
        """What mixes them for a block, and, unless it is the last mean, puts the block's output back."""
        down, fused = f"{name}.input_mix_weight_down", f"{name}.input_mix_weight_down_block_inject"
        up = _whole(f"{name}.input_mix_weight_up", self.width, self.rank)
        norm = Vector(f"{name}.hc_norm.weight", self.width, dtype=_BFLOAT16)
        if not injects:
            return norm, _whole(down, self.rank, self.width), up
        padding = -(self.rank + self.count) % _MIXING_ROWS * self.width
        return (
            norm,
            _whole(down, self.rank, self.width, fused),
            _whole(f"{name}.block_inject_weight", self.count, self.width, fused),
            Vector(f"{fused}.padding", padding, dtype=_BFLOAT16, stored=False),
            up,
        )


def _whole(name: str, outputs: int, inputs: int, fused: str | None = None) -> Linear:
    return Linear(name, outputs, inputs, Split.REPLICATED, fused=fused, quantized=False, dtype=_BFLOAT16)


def qwen4_exp_text(name: str, config: Config) -> Architecture:
    """Qwen4ExpForCausalLM, whose positions have one axis whatever the config says (models/config.py)."""
    rope = {key: value for key, value in config.at("rope_parameters").data.items() if not key.startswith("mrope_")}
    return language_model(name, Config({**config.data, "rope_parameters": rope}, config.path))


def language_model(name: str, config: Config) -> Architecture:
    """The decoder, alone or behind a tower, with what transformers' class fills in."""
    return _decoder(name, Config({**_DEFAULTS, **config.data}, config.path))


def _decoder(name: str, config: Config) -> Architecture:
    _check(config)
    streams = _Streams(config.positive("hc_count"), config.positive("hidden_size"), config.positive("hc_lowrank"))
    if streams.count == 1:
        raise ConfigError(f"`{config.path}hc_count` must be at least 2: vLLM's class takes no single stream")
    layers, vocab = _layers(config, streams), config.positive("vocab_size")
    heads, net = Heads.read(config), DeltaNet.read(config)
    tables = bool(config.items("ple_layer_ids"))
    return Architecture(
        name=name,
        layers=layers,
        first=(),
        last=streams.mixing("model.hyper_connection_mixer", injects=False),
        everywhere=(embeddings(vocab, streams.hidden), Table("lm_head", vocab, streams.hidden)),
        hidden_size=streams.hidden,
        streams=streams.count,
        gated_streams=True,
        intermediate_size=max(net.keys + net.values, config.count("shared_expert_intermediate_size")),
        num_attention_heads=heads.query,
        num_kv_heads=heads.kv,
        head_dim=heads.dim,
        vocab_size=vocab,
        tie_word_embeddings=False,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
        rotary=rotary_tables(name, config, layers, heads.dim),
        # Later stages do not get the tokens that n-grams are made of (models/config.py).
        pipelined=not tables,
        float16=False,
        # The last mean puts nothing back; its checkpoint has the projection all the same, and vLLM skips it.
        drafting_prefixes=("mtp.", *(f"{path}hyper_connection_mixer.block_inject_weight" for path in _PATHS)),
    )


_PATHS = ("model.", "model.language_model.")


def _check(config: Config) -> None:
    check_activation(config, SILU)
    check_present(config, "output_gate_type")
    check_value(config, "output_gate_type", ("silu", "sigmoid"))
    check_value(config, "tie_word_embeddings", (False,))
    check_value(config, "is_causal", (True,))
    if config.data.get("dual_chunk_attention_config") is not None:
        raise ConfigError(f"`{config.path}dual_chunk_attention_config`: vLLM's class takes none")


def _kinds(config: Config) -> tuple[str, ...]:
    """Files call attention that an indexer picks for `full_attention` as well (transformers' Qwen4ExpTextConfig)."""
    count = config.layers()
    if config.data.get("layer_types") is None:
        interval = config.positive("full_attention_interval", default=4)
        return tuple(_LINEAR if (index + 1) % interval else _INDEXED for index in range(count))
    named = tuple(_INDEXED if kind == "full_attention" else kind for kind in config.per_layer("layer_types", count))
    if unknown := [str(kind) for kind in named if kind not in (_LINEAR, _INDEXED)]:
        raise ConfigError(f"`{config.path}layer_types` has the unknown kind {unknown[0][:40]}")
    if len(set(named)) == 1:
        raise ConfigError(f"`{config.path}layer_types` has layers of one kind only: no hybrid model")
    return tuple(str(kind) for kind in named)


def _layers(config: Config, streams: _Streams) -> tuple[Layer, ...]:
    kinds, places = _kinds(config), _places(config)
    for index in places:
        if index >= len(kinds) or kinds[index] != _LINEAR:
            raise ConfigError(f"`{config.path}ple_layer_ids` names layer {index + 1}, which is no {_LINEAR}")
    net, hidden = DeltaNet.read(config), streams.hidden
    mixer = net.mixer("linear_attn", apart_inputs(net, hidden), hidden, state_dtype(config, "mamba_ssm_dtype"))
    common = (
        *streams.mixing("attn_hyper_connection"), *streams.mixing("mlp_hyper_connection"), *routed_experts(config),
    )  # fmt: skip

    @cache
    def layer(kind: str, place: int | None) -> Layer:
        if kind == _INDEXED:
            modules, caches = _attention(config, hidden)
            return Layer((*modules, *common), caches)
        if place is None:
            return Layer((*mixer.modules, *common), (mixer.cache,))
        state = _ngram_state(config, streams, mixer.cache)
        return Layer((*_ngrams(config, streams, place), *mixer.modules, *common), (state, mixer.cache))

    return tuple(layer(kind, places.get(index)) for index, kind in enumerate(kinds))


def _places(config: Config) -> dict[int, int]:
    """Layers with n-gram embeddings, which the config counts from 1, and their places among themselves."""
    ids = config.items("ple_layer_ids")
    if wrong := [each for each in ids if not isinstance(each, int) or isinstance(each, bool) or each < 1]:
        raise ConfigError(f"`{config.path}ple_layer_ids` must hold numbers from 1 on, not {str(wrong[0])[:40]}")
    numbers = sorted({each for each in ids if isinstance(each, int)})
    return {number - 1: place for place, number in enumerate(numbers)}


def _attention(config: Config, hidden: int) -> tuple[tuple[Module, ...], tuple[Cache, ...]]:
    """Queries come with a gate of the same width, and the indexer's projection is one with theirs (qsa.py)."""
    heads, indexer = Heads.read(config), _indexer(config)
    gated = Heads(2 * heads.query, heads.kv, heads.dim)
    query, key, value, _ = attention(gated, hidden)
    width = indexer.width
    modules = (
        query,
        key,
        value,
        Linear("self_attn.indexer.index_qk_proj", (indexer.heads + 1) * width, hidden, Split.REPLICATED,
               fused="self_attn.qkv_proj"),
        Linear("self_attn.o_proj", hidden, heads.query * heads.dim, Split.INPUTS),
        *norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *norms(width, "self_attn.indexer.q_layernorm", "self_attn.indexer.k_layernorm"),
    )  # fmt: skip
    several = "mrope_section" in config.at("rope_parameters")
    entry = -(-width // _POSITION) * _POSITION + _AXES * _POSITION if several else width
    # Without speculative tokens the ring holds one group (qsa_cache.py:get_kv_cache_spec).
    return modules, (RingCache(entry, indexer.ratio), indexer, replace(heads.cache(), scaled=False))


def _indexer(config: Config) -> PooledKeyCache:
    if missing := [key for key in _INDEXER if config.data.get(key) is None]:
        raise ConfigError(f"`{config.path}{missing[0]}` is missing: attention without an indexer is not accounted for")
    check_value(config, "indexer_kv_heads", (1,))
    heads, width, topk, ratio = (config.positive(key) for key in _INDEXER if key != "indexer_kv_heads")
    if topk % ratio:
        raise ConfigError(f"`{config.path}indexer_budget` {topk} is no multiple of indexer_compress_ratio {ratio}")
    if DEFAULT_BLOCK % ratio:
        raise ConfigError(
            f"`{config.path}indexer_compress_ratio` {ratio} does not divide vLLM's blocks of {DEFAULT_BLOCK} tokens"
        )
    if (dim := config.positive("head_dim", default=256)) & (dim - 1):
        raise ConfigError(f"`{config.path}head_dim` must be a power of two for vLLM's kernel, not {dim}")
    return PooledKeyCache(width, ratio, heads, topk)


def _ngrams(config: Config, streams: _Streams, place: int) -> tuple[Module, ...]:
    """Embeddings of the last tokens together, projected into every stream (ple_layer.py)."""
    hidden, fused = streams.hidden, "ple.kv_proj"
    width = config.positive("ple_embed_dim", default=hidden)
    heads = (_ngram_size(config) - 1) * config.positive("heads_per_ngram", default=8)
    if heads > _MOST_HEADS:
        raise ConfigError(f"`{config.path}heads_per_ngram` makes {heads} tables of a layer, more than {_MOST_HEADS}")
    if width % heads:
        raise ConfigError(f"`{config.path}ple_embed_dim` {width} is no multiple of {heads} heads of n-grams")
    if not isinstance(config.data.get("eos_token_id"), int):
        raise ConfigError(f"`{config.path}eos_token_id` must be one number: n-grams end at it")
    unit = config.positive("make_ngram_vocab_size_divisible_by", default=128)
    rows = ngram_rows(config.positive("ngram_vocab_size_base", default=20_000_000), heads, place)
    return (
        Linear("ple.ple_embedding.ngram_embedding", rows + -rows % unit, width // heads, Split.OUTPUTS,
               quantized=False),
        Linear("ple.key_proj", streams.width, width, Split.REPLICATED, fused=fused),
        Linear("ple.value_proj", hidden, width, Split.REPLICATED, fused=fused),
        *norms(streams.width, "ple.norm_key", "ple.norm_query", "ple.norm_conv"),
        Vector("ple.conv1d.weight", streams.width * taps(config, "ple_conv_kernel_size", default=4)),
    )  # fmt: skip


def _ngram_state(config: Config, streams: _Streams, net: StateCache) -> StateCache:
    """What its dilated convolution remembers; it exports states where the delta nets do (get_kv_cache_spec)."""
    rows = (taps(config, "ple_conv_kernel_size", default=4) - 1) * _ngram_size(config)
    part = StatePart(0, rows, streams.width)
    return StateCache("short_conv", (part,), net.checkpoints_on, replicated=True)


def _ngram_size(config: Config) -> int:
    size = config.positive("ngram_size", default=3)
    if size == 1:
        raise ConfigError(f"`{config.path}ngram_size` must be at least 2")
    return size
