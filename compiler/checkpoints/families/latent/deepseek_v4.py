"""DeepSeek V4: latents that are compressed over tokens beside a sliding window of whole ones.

vllm/models/deepseek_v4/{attention,compressor}.py and nvidia/model.py of 0.33.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compiler.checkpoints.architecture import (
    Architecture,
    Cache,
    Experts,
    Layer,
    Linear,
    Module,
    PackedCache,
    Split,
    Table,
    Vector,
)
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.parts import dtype_of, embeddings, gated_mlp, norms
from compiler.checkpoints.families.terms import check_scoring
from compiler.checkpoints.lengths import max_model_len, positions, rope_parameters, scaling_factor
from compiler.checkpoints.rotary_table import RotaryTable

_WINDOW_BLOCK = 64  # sparse_swa.py:DeepseekV4SWACache
_STATE_BLOCKS = {4: 4, 128: 8}  # compressor.py:CompressorStateCache, by ratio
_PICKED = 512  # transformers' DeepseekV4Config
_INDEXED = 4  # only layers of this ratio have an indexer
_SINKS = 64  # nvidia/flashmla.py:get_padded_num_q_heads pads a rank's heads to 64 or 128
_RATES = {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
_KINDS = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Of the whole model."""

    hidden: int
    heads: int
    width: int
    query_rank: int
    groups: int
    out_rank: int
    streams: int
    window: int


def deepseek_v4(name: str, config: Config) -> Architecture:
    """DeepseekV4ForCausalLM, without vision."""
    if config.count("vision_n_layers", default=0):
        raise ConfigError(f"`{config.path}vision_n_layers`: DeepSeek V4 with vision is not accounted for")
    check_activation(config, SILU)
    check_scoring(config)
    count, vocab = config.layers(), config.positive("vocab_size")
    numbers, hashed = _numbers(config), _hashed(config, count)
    kinds = tuple((ratio, index < hashed) for index, ratio in enumerate(_ratios(config, count)))
    built = {kind: _layer(config, numbers, ratio=kind[0], hashed=kind[1]) for kind in set(kinds)}
    streams = numbers.streams * numbers.hidden
    return Architecture(
        name=name,
        layers=tuple(built[kind] for kind in kinds),
        first=(embeddings(vocab, numbers.hidden),),
        last=(*norms(numbers.hidden, "model.norm"), Table("lm_head", vocab, numbers.hidden)),
        everywhere=(
            Vector("model.hc_head_fn", numbers.streams * streams, dtype="F32"),
            Vector("model.hc_head_base", numbers.streams, dtype="F32"),
            Vector("model.hc_head_scale", 1, dtype="F32"),
        ),
        hidden_size=numbers.hidden,
        streams=numbers.streams,
        intermediate_size=config.positive("moe_intermediate_size"),
        num_attention_heads=numbers.heads,
        num_kv_heads=1,
        head_dim=numbers.width,
        vocab_size=vocab,
        tie_word_embeddings=False,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
        rotary=tuple(_tables(config, built)),
    )


def _tables(config: Config, ratios: Iterable[tuple[int, bool]]) -> Iterator[RotaryTable]:
    """Float32; only layers that compress are scaled (vllm/models/deepseek_v4/common/rope.py)."""
    rows, width = positions(config), config.positive("qk_rope_head_dim", default=_rotated(config))
    compressing = {ratio > 1 for ratio, _ in ratios}
    if False in compressing:
        yield RotaryTable(rows, width, "float32")
    if True in compressing:
        stated = rope_parameters(config)
        rope = next((one for one in stated if one.path.endswith("compress.")), stated[0])
        scaled = "factor" in rope and next(rope.first("rope_type", "type"), "default") != "default"
        original = rope.positive("original_max_position_embeddings", default=rows)
        yield RotaryTable(math.ceil(original * scaling_factor(rope)) if scaled else rows, width, "float32")


def _rotated(config: Config) -> int:
    """64 of 512 elements of a head, where transformers' DeepseekV4Config is not told otherwise."""
    return max(1, config.positive("head_dim") // 8)


def _numbers(config: Config) -> _Numbers:
    heads, width, groups = (config.positive(key) for key in ("num_attention_heads", "head_dim", "o_groups"))
    if heads * width % groups:
        raise ConfigError(f"`{config.path}o_groups` {groups} does not divide {heads} heads of {width}")
    if heads > 2 * _SINKS:
        raise ConfigError(f"`{config.path}num_attention_heads` is {heads}: vLLM's kernels take {2 * _SINKS} at most")
    return _Numbers(
        hidden=config.positive("hidden_size"),
        heads=heads,
        width=width,
        query_rank=config.positive("q_lora_rank"),
        groups=groups,
        out_rank=config.positive("o_lora_rank"),
        streams=config.positive("hc_mult"),
        window=config.positive("sliding_window"),
    )


def _ratios(config: Config, count: int) -> tuple[int, ...]:
    """Tokens that one compressed latent of each layer stands for; 1 where there is only the window."""
    rates = _RATES | {
        kind: config.positive(key)
        for kind, key in zip(_RATES, ("compress_rate_csa", "compress_rate_hca"), strict=True)
        if key in config
    }
    given = config.at("compress_rates")
    rates |= {kind: given.positive(kind) for kind in _RATES if kind in given}
    ratios = tuple(max(1, rates.get(kind, 0)) for kind in _layer_kinds(config, count))
    wrong = next((ratio for ratio in ratios if ratio not in (1, *_STATE_BLOCKS)), None)
    if wrong is not None:
        raise ConfigError(f"`{config.path}compress_rates` has {wrong}: vLLM compresses 4 or 128 tokens")
    return ratios


def _layer_kinds(config: Config, count: int) -> tuple[str, ...]:
    key = "layer_types" if "layer_types" in config else "compress_ratios"
    if key not in config:
        later = ("heavily_compressed_attention", "compressed_sparse_attention")
        return (later[0],) * min(count, 2) + tuple(later[index % 2] for index in range(count - 2))
    values = config.items(key)
    # The checkpoint's own draft layers may follow.
    kinds = tuple(str(value) if key == "layer_types" else _kind_of(value) for value in values[:count])
    if len(kinds) < count or not set(kinds) <= set(_KINDS.values()):
        raise ConfigError(f"`{config.path}{key}` must name a known kind of attention for each of {count} layers")
    return kinds


def _kind_of(ratio: object) -> str:
    return _KINDS.get(ratio, "") if isinstance(ratio, int) and not isinstance(ratio, bool) else ""


def _hashed(config: Config, count: int) -> int:
    """Layers, from the first on, whose experts a table of token ids picks."""
    if "mlp_layer_types" in config:
        return sum(kind == "hash_moe" for kind in config.per_layer("mlp_layer_types", count))
    return min(count, config.count("num_hash_layers", default=3))


def _layer(config: Config, numbers: _Numbers, *, ratio: int, hashed: bool) -> Layer:
    streams = numbers.streams
    mixes, width = (2 + streams) * streams, streams * numbers.hidden
    mixing = (
        module
        for part in ("attn", "ffn")
        for module in (
            Vector(f"hc_{part}_fn", mixes * width, dtype="F32"),
            Vector(f"hc_{part}_base", mixes, dtype="F32"),
            Vector(f"hc_{part}_scale", 3, dtype="F32"),
        )
    )
    attention, caches = _attention(config, numbers, ratio)
    modules = (
        *norms(numbers.hidden, "attn_norm", "ffn_norm"), *mixing, *attention, *_experts(config, numbers, hashed=hashed),
    )  # fmt: skip
    return Layer(modules, caches)


def _attention(config: Config, numbers: _Numbers, ratio: int) -> tuple[tuple[Module, ...], tuple[Cache, ...]]:
    """Modules, and caches in the order in which vLLM registers them."""
    hidden, width, inner = numbers.hidden, numbers.width, numbers.groups * numbers.out_rank
    fused = "attn.fused_wqa_wkv"
    sinks = -(-numbers.heads // _SINKS)
    modules: tuple[Module, ...] = (
        Linear("attn.wq_a", numbers.query_rank, hidden, Split.REPLICATED, fused=fused),
        Linear("attn.wkv", width, hidden, Split.REPLICATED, fused=fused),
        *norms(numbers.query_rank, "attn.q_norm"),
        *norms(width, "attn.kv_norm"),
        Linear("attn.wq_b", numbers.heads * width, numbers.query_rank, Split.OUTPUTS),
        Linear(
            "attn.wo_a", inner, numbers.heads * width // numbers.groups, Split.OUTPUTS, groups=numbers.groups
        ),
        Linear("attn.wo_b", hidden, inner, Split.INPUTS),
        Vector("attn.attn_sink", sinks * _SINKS, Split.KV_HEADS, "F32", heads=sinks),
    )  # fmt: skip
    window = PackedCache("latent", width, window=numbers.window, block=_WINDOW_BLOCK)
    if ratio == 1:
        return modules, (window,)
    indexer, indexer_caches = _indexer(config, numbers) if ratio == _INDEXED else ((), ())
    compressor, state = _compressor("attn.compressor", width, ratio, hidden)
    return (*modules, *indexer, *compressor), (*indexer_caches, window, PackedCache("latent", width, ratio), state)


def _indexer(config: Config, numbers: _Numbers) -> tuple[tuple[Module, ...], tuple[Cache, ...]]:
    heads, width = config.positive("index_n_heads"), config.positive("index_head_dim")
    compressor, state = _compressor("attn.indexer.compressor", width, _INDEXED, numbers.hidden)
    modules = (
        Linear(
            "attn.indexer.wq_b", heads * width, numbers.query_rank, Split.REPLICATED
        ),
        Linear("attn.indexer.weights_proj", heads, numbers.hidden, Split.REPLICATED, quantized=False),
        *compressor,
    )  # fmt: skip
    picked = config.positive("index_topk", default=_PICKED)
    return modules, (PackedCache("indexer", width, _INDEXED, heads=heads, topk=picked), state)


def _compressor(name: str, width: int, ratio: int, hidden: int) -> tuple[tuple[Module, ...], PackedCache]:
    """Makes one entry of `ratio` tokens, and keeps the tokens of which none was made yet; those of ratio 4 overlap."""
    spans = 2 if ratio == _INDEXED else 1
    fused, size = f"{name}.fused_wkv_wgate", spans * width
    modules = (
        Vector(f"{name}.ape", ratio * size, dtype="F32"),
        Linear(f"{name}.wkv", size, hidden, Split.REPLICATED, fused=fused, quantized=False),
        Linear(f"{name}.wgate", size, hidden, Split.REPLICATED, fused=fused, quantized=False),
        *norms(width, f"{name}.norm"),
    )
    return modules, PackedCache("state", 2 * size, window=spans * ratio, block=_STATE_BLOCKS[ratio])


def _experts(config: Config, numbers: _Numbers, *, hashed: bool) -> tuple[Module, ...]:
    count, top_k = config.positive("n_routed_experts"), config.positive("num_experts_per_tok")
    width, shared = config.positive("moe_intermediate_size"), config.count("n_shared_experts", default=0)
    choice: tuple[Module, ...] = ()
    if hashed:
        choice = (Vector("ffn.gate.tid2eid", config.positive("vocab_size") * top_k, dtype="I32"),)
    elif config.text("topk_method") == "noaux_tc":
        choice = (Vector("ffn.gate.e_score_correction_bias", count, dtype="F32"),)
    dense = gated_mlp(width * shared, numbers.hidden, name="ffn.shared_experts") if shared else ()
    return (
        Linear("ffn.gate", count, numbers.hidden, Split.REPLICATED, quantized=False),
        *choice,
        *dense,
        Experts("ffn.experts", count, numbers.hidden, width, top_k, projections=("w1", "w3", "w2")),
    )
