"""An architecture without formulas, taken for full attention in every layer: an upper bound of weights and KV cache.

Weights are all tensors of the safetensors headers. A request takes, in every layer, the widest keys and values that
config.json or the headers know. Where kinds of attention are mixed, vLLM puts layers in groups and fills short groups
up (vllm/v1/core/kv_cache_planning.py of 0.33.0): that less than doubles the layers, and a window takes one block more
than full attention. What has no such bound is refused: recurrent states, cross-attention, towers, packed weights, and
latent attention, which caches less but expands tens of thousands of tokens at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from compiler.checkpoints.architecture import Architecture, Experts, HeadCache, Layer, Module, Vector
from compiler.checkpoints.config import Config, UnsupportedArchitectureError
from compiler.checkpoints.families.endings import GENERATING
from compiler.checkpoints.families.parts import dtype_of
from compiler.checkpoints.lengths import max_model_len, rope_parameters
from compiler.checkpoints.parameters.ranks import padded_rows
from compiler.checkpoints.parameters.tensors import check_tensors
from compiler.checkpoints.rotary_table import RotaryTable
from compiler.lock.models import TensorKind

_RECURRENT_KEYS = re.compile(
    r"mamba|ssm|state_size|conv|linear_attn|linear_(key|value|num)|rnn|lru_|recurrent|rwkv|kda"
)
_RECURRENT_TENSORS = re.compile(r"conv|mamba|ssm|A_log|dt_bias|dt_proj|\bx_proj|recurrent|rwkv|rg_lru|time_mix")
_TOWER_KEYS = re.compile(r"vision|visual|audio|image|img|video|speech|tower|encoder_(config|layers)")
_TOWER_TENSORS = re.compile(r"vision|visual|audio|image|img|tower")
_MIXED_KEYS = re.compile(r"sliding|window|swa|layer_types|pattern|chunk|local_(?!expert)|global|compress|sparse|index")
_KEYS = re.compile(r"\.(k_proj|key|wk|k)\.weight$")
_FUSED_KEYS = re.compile(r"\.(qkv_proj|qkv|query_key_value|c_attn|wqkv|kv_proj|kv_b_proj)\.weight$", re.IGNORECASE)
_ATTENTION = re.compile(f"{_KEYS.pattern}|(?i:{_FUSED_KEYS.pattern})")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output|head|output_layer)\.weight$")
_VOCABULARY = re.compile(rf"embed|wte|wpe|{_HEAD.pattern}")
_MATRIX = 2
_ALL_TOKENS = 2**31
_EXPERTS = re.compile(r"expert")
# The engine keeps routers and vectors in float32 in some families, however they are stored.
_ROUTERS = re.compile(r"gate\.|router|score|wg\.")
_TOP_K = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "top_k_experts",
    "n_activated",
)
_HALVES = {"BF16", "F16"}
_TEXT = ("text_config", "llm_config", "language_config")


def assumed(
    name: str, data: Mapping[str, Any], tensors: tuple[TensorKind, ...] | None, *, packed: bool
) -> Architecture:
    """The bound for one GPU.

    Args:
        data: config.json.
        tensors: of the safetensors headers.
        packed: the checkpoint is quantized.

    Raises:
        UnsupportedArchitectureError: full attention is no upper bound of it, or nothing to count is known.
        ConfigError: a key that is needed is missing or absurd.
    """
    if not tensors:
        raise _refusal(name, "its safetensors headers are not known")
    check_tensors(tensors)
    config = _language_model(Config(data))
    reason = _unbounded(name, data, config, tensors, packed=packed)
    if reason is not None:
        raise _refusal(name, reason)
    hidden, vocab = config.positive("hidden_size"), config.positive("vocab_size")
    dtype = dtype_of(config, Config(data))
    heads, count = config.positive("num_attention_heads"), config.layers("num_hidden_layers", "num_layers")
    cache, copies = _cache(config, tensors, hidden, heads, count)
    scratch = _scratch(name, config, tensors, hidden)
    layer = Layer((*_in_layers(tensors, count, dtype), *scratch), (cache,) * copies)
    return Architecture(
        name=name,
        layers=(layer,) * count,
        first=(),
        last=(),
        everywhere=(*_outside(tensors, count, dtype), *_tables(config, tensors, vocab, hidden)),
        hidden_size=hidden,
        intermediate_size=_width(config, tensors, hidden),
        num_attention_heads=heads,
        num_kv_heads=cache.kv_heads,
        head_dim=cache.head_dim,
        vocab_size=vocab,
        tie_word_embeddings=False,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype,
        rotary=(_table(config, max(_head_dims(config, hidden, heads))),) * 2,
        pipelined=False,
        assumed=True,
    )


def _refusal(name: str, reason: str) -> UnsupportedArchitectureError:
    return UnsupportedArchitectureError(f"{name}, which cannot be taken for full attention: {reason}")


def _language_model(config: Config) -> Config:
    nested = next((key for key in _TEXT if key in config), None)
    return config if nested is None else config.at(nested)


def _unbounded(
    name: str, data: Mapping[str, Any], config: Config, tensors: tuple[TensorKind, ...], *, packed: bool
) -> str | None:
    """Why full attention is no upper bound of a model; None if it is one."""
    if packed:
        return "its weights are quantized"
    if not name.endswith(GENERATING):
        return "it does not generate text"
    keys = [key for key in {**data, **config.data} if data.get(key, config.data.get(key)) is not None]
    tower = next((key for key in keys if _TOWER_KEYS.search(key)), None)
    tower = tower or next((kind.name for kind in tensors if _TOWER_TENSORS.search(kind.name)), None)
    if tower is not None:
        return f"`{tower}` tells of more than a language model"
    if data.get("is_encoder_decoder"):
        return "it has cross-attention"
    if "kv_lora_rank" in keys:
        return "`kv_lora_rank` tells of latent attention, whose scratch no width bounds"
    key = next((key for key in keys if _RECURRENT_KEYS.search(key)), None)
    key = key or next((kind.name for kind in tensors if _RECURRENT_TENSORS.search(kind.name)), None)
    return None if key is None else f"`{key}` tells of a recurrent state"


def _cache(
    config: Config, tensors: tuple[TensorKind, ...], hidden: int, heads: int, layers: int
) -> tuple[HeadCache, int]:
    """The widest cache of a layer, and how many of them a layer is counted with."""
    dim = max(_head_dims(config, hidden, heads))
    kv_heads = config.positive("num_key_value_heads", default=heads)
    rows = max((kind.shape[0] for kind in tensors if _KEYS.search(kind.name) and kind.shape), default=0)
    kv_heads = max(kv_heads, -(-rows // dim))
    # Some architectures attend several times in a layer.
    attentions = sum(kind.count for kind in tensors if _ATTENTION.search(kind.name))
    copies = max(1, -(-attentions // layers))
    mixed = any(_MIXED_KEYS.search(key) for key in config.data if key in config)
    if not mixed:
        return HeadCache(kv_heads, dim, dim), copies
    return HeadCache(kv_heads, dim, dim, window=_ALL_TOKENS), 2 * copies


def _head_dims(config: Config, hidden: int, heads: int) -> Iterator[int]:
    """Every width of a head that config.json names."""
    if "head_dim" not in config:
        yield -(-hidden // heads)
    for key in config.data:
        if key.endswith(("head_dim", "head_size")) and key in config:
            yield config.positive(key)


def _in_layers(tensors: tuple[TensorKind, ...], layers: int, dtype: str) -> Iterator[Module]:
    """A layer's part of the kinds that every layer has, experts of one kind as one tensor."""
    for kind in tensors:
        if kind.count % layers == 0:
            yield Vector(kind.name, math.prod(kind.shape) * kind.count // layers, dtype=_kept_dtype(kind, dtype))


def _outside(tensors: tuple[TensorKind, ...], layers: int, dtype: str) -> Iterator[Module]:
    for kind in tensors:
        if kind.count % layers:
            yield Vector(kind.name, math.prod(kind.shape) * kind.count, dtype=_kept_dtype(kind, dtype))


def _kept_dtype(kind: TensorKind, checkpoint_dtype: str) -> str | None:
    """None for what the model is served in."""
    if kind.dtype not in _HALVES and (kind.dtype != "F32" or checkpoint_dtype != "float32"):
        return kind.dtype
    return "F32" if len(kind.shape) < _MATRIX or _ROUTERS.search(kind.name) else None


def _tables(config: Config, tensors: tuple[TensorKind, ...], vocab: int, hidden: int) -> Iterator[Module]:
    """What the engine adds to the tables: padding, and an output head that is stored nowhere and not tied."""
    padded = padded_rows(vocab)
    yield Vector("padding of the vocabulary", 2 * (padded - vocab) * hidden)
    tied = config.flag("tie_word_embeddings") if "tie_word_embeddings" in config else False
    if not tied and not any(_HEAD.search(kind.name) for kind in tensors):
        yield Vector("output head", padded * hidden)


def _table(config: Config, width: int) -> RotaryTable:
    """As long as any is; layers of several kinds may rotate in two ways."""
    many = 4 if any("mrope_section" in rope for rope in rope_parameters(config)) else 1
    return RotaryTable(many * max_model_len(config), width, "float32")


def _width(config: Config, tensors: tuple[TensorKind, ...], hidden: int) -> int:
    """The widest tensor of a layer."""
    named = config.positive("intermediate_size", default=hidden)
    return max(hidden, named, *(max(kind.shape) for kind in _matrices(tensors)))


def _scratch(name: str, config: Config, tensors: tuple[TensorKind, ...], hidden: int) -> tuple[Module, ...]:
    """What experts need beside their weights, which are counted as tensors: so many of them that there are none."""
    routed = [kind for kind in _matrices(tensors) if _EXPERTS.search(kind.name) and "shared" not in kind.name]
    if not routed:
        return ()
    if not any(key in config for key in _TOP_K):
        raise _refusal(name, "how many experts serve a token is not known")
    widest = max(max(kind.shape) for kind in routed)
    return (Experts("scratch of experts", 0, hidden, widest, config.positive(*_TOP_K)),)


def _matrices(tensors: tuple[TensorKind, ...]) -> Iterator[TensorKind]:
    """Of layers, without the tables of the vocabulary."""
    return (kind for kind in tensors if len(kind.shape) >= _MATRIX and not _VOCABULARY.search(kind.name))
