"""Tables of rotary positions: how many a model has, and how large each is.

vLLM makes a table by the type of `rope_parameters` and shares it between layers that ask for the same
(vllm/model_executor/layers/rotary_embedding/__init__.py:get_rope and its classes, 0.33.0). What a config leaves out is
filled in by transformers' configuration classes (modeling_rope_utils.py:RotaryEmbeddingConfigMixin of 5.19).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compiler.checkpoints.architecture import HeadCache, IndexerCache, LatentCache, Layer
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.windows import FULL, SLIDING
from compiler.checkpoints.lengths import positions, rope_parameters, scaling_factor
from compiler.checkpoints.rotary_table import VIDEO_POSITIONS, RotaryTable

# Part of a head that rotates, where transformers' class has a default of its own.
_PARTS = {
    **dict.fromkeys(("glm4", "glm4_moe", "nemotron"), 0.5),
    **dict.fromkeys(("stablelm", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), 0.25),
}
_PART_KEYS = ("partial_rotary_factor", "rotary_pct", "rotary_emb_fraction")
# Elements of a head that rotate (gpt_j.py, falcon_h1.py, transformers' MiniMaxM2Config), by the key that says so.
_ROTATED_KEYS = {"gptj": "rotary_dim", "minimax_m2": "rotary_dim", "falcon_h1": "attn_rotary_emb"}
_GPTJ_ROTATED = 64
# Bases of layers without and with a window, where `rope_parameters` is not nested by kind and the config has neither.
_TWO_BASES = {"gemma3_text": (1e6, 1e4), "gemma4_text": (1e6, 1e4), "modernbert": (16e4, 1e4)}
# What transformers' classes scale by where the config holds nothing of it.
_YARN = {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096}
_SCALED = {"gpt_oss": _YARN, "ministral3": _YARN | {"factor": 16.0, "original_max_position_embeddings": 16384}}
# Their positions never exceed the tokens (qwen3_vl.py:mrope_positions_factor), as video pruning is not asked for.
_COUNTED = ("Qwen3VL", "Qwen3_5", "Qwen4Exp")
# deepseek_v2.py calls every scaling by the name of DeepSeek's own.
_DEEPSEEK = ("Deepseek", "GlmMoeDsa", "Glm4MoeLite", "KimiK25")
# Classes that make their tables themselves, for videos whatever the config says (ernie45_vl_moe.py).
_VIDEOS = ("Ernie4_5_VL",)
_FLASHINFER_WIDTHS = (64, 128, 256, 512)  # deepseek_scaling_rope.py

_BY_LAYER = ("rope_theta", "layer_rope_theta", "partial_rotary_factors")

Rope = tuple[int, Mapping[str, Any]]
"""What decides a table: the width of a head, and `rope_parameters` of its kind of layer."""


def rotary_tables(name: str, config: Config, layers: Sequence[Layer], head_dim: int) -> tuple[RotaryTable, ...]:
    """Every table that the layers of a model share.

    Args:
        config: of the language model.
        head_dim: of layers that keep no cache.

    Raises:
        ConfigError: parameters that vLLM does not take.
    """
    ropes: list[Rope] = []
    for index, layer in _kinds_of(config, layers):
        for rope in _of_layer(name, config, layer, index, head_dim):
            if rope not in ropes:
                ropes.append(rope)
    length = positions(config)
    tables = tuple(_table(name, config, rope, length) for rope in ropes)
    indexed = any(isinstance(cache, IndexerCache) for layer in layers for cache in layer.caches)
    # An indexer that rotates halves, not pairs, has a table of its own (deepseek_v2.py: indexer_rope_emb).
    return tables * 2 if indexed and not config.flag("indexer_rope_interleave") else tables


def _kinds_of(config: Config, layers: Sequence[Layer]) -> Iterator[tuple[int, Layer]]:
    """Each kind of layer once; every layer where keys of the config are lists by layer."""
    by_layer = any(isinstance(config.data.get(key), list) for key in _BY_LAYER)
    seen: set[int] = set()
    for index, layer in enumerate(layers):
        if by_layer or id(layer) not in seen:
            seen.add(id(layer))
            yield index, layer


def _of_layer(name: str, config: Config, layer: Layer, index: int, head_dim: int) -> Iterator[Rope]:
    if not layer.caches:
        yield from ((head_dim, _parameters(name, config, kind, index)) for kind in (FULL, SLIDING))
    for cache in layer.caches:
        if isinstance(cache, HeadCache | LatentCache):
            sees_all = isinstance(cache, LatentCache) or (cache.window is None and cache.chunk is None)
            width = config.count("qk_rope_head_dim", default=0)
            if isinstance(cache, HeadCache):
                width = width or cache.head_dim
            parameters = _parameters(name, config, FULL if sees_all else SLIDING, index)
            if parameters.get("rope_theta") != 0:  # a layer without positions (granite.py)
                yield width, parameters


def _parameters(name: str, config: Config, kind: str, index: int) -> Mapping[str, Any]:
    """`rope_parameters` of a layer, with what stands beside them in config.json."""
    stated = {rope.path.split(".")[-2]: rope for rope in rope_parameters(config)}
    nested = FULL in stated or SLIDING in stated
    rope = stated.get(kind, stated.get(FULL, next(iter(stated.values()))))
    if kind == SLIDING and "swa_rope_parameters" in config:
        rope = config.at("swa_rope_parameters")
    if name.startswith("MiMoV2") or _spared(config, kind, nested=nested):
        rope = Config({}, rope.path)  # not scaled
    rope = rope if rope.data else Config(_SCALED.get(config.text("model_type"), {}), rope.path)
    data = {"rope_theta": _base(config, kind, index), **rope.data}
    data["rope_type"] = str(next(rope.first("rope_type", "type"), "default"))
    if "layer_rope_theta" in config:
        data["rope_theta"] = _base(config, kind, index)
    if "partial_rotary_factor" not in rope.data or config.text("model_type") == "gptj":
        data["partial_rotary_factor"] = _part(config, index)
    if name.startswith(_DEEPSEEK) and data["rope_type"] != "default":
        data["rope_type"] = "deepseek_yarn"
    return data


def _spared(config: Config, kind: str, *, nested: bool) -> bool:
    """Whether a scaling that is not nested by kind leaves this kind of layer out."""
    scaled = config.items("yarn_only_types")
    if scaled and not nested:
        return kind not in scaled
    return kind == SLIDING and config.text("model_type") == "gemma3_text" and not nested


def _base(config: Config, kind: str, index: int) -> object:
    """Of the rotation; None where it is the class's own."""
    keys = ["layer_rope_theta", "rope_theta", "global_rope_theta"]
    two = _TWO_BASES.get(config.text("model_type"))
    if kind == SLIDING:
        own = ["swa_rope_theta", "rope_local_base_freq", "local_rope_theta"]
        keys = own if two else [*own, *keys]
    default = None if two is None else two[kind == SLIDING]
    value = next(config.first(*keys), default)
    return value[index] if isinstance(value, list) and index < len(value) else value


def _part(config: Config, index: int) -> object:
    """Of a head that rotates, where `rope_parameters` does not say it."""
    kind = config.text("model_type")
    rotated = _ROTATED_KEYS.get(kind)
    if rotated is not None and (rotated in config or kind == "gptj"):
        heads = config.positive("num_attention_heads", "n_head")
        whole = config.positive("head_dim", default=config.positive("hidden_size", "n_embd") // heads or 1)
        return config.positive(rotated, default=_GPTJ_ROTATED) / whole
    factors = config.items("partial_rotary_factors")
    if index < len(factors):
        return factors[index]
    return next(config.first(*_PART_KEYS), _PARTS.get(kind, 1.0))


def _table(name: str, config: Config, rope: Rope, length: int) -> RotaryTable:
    head_dim, data = rope
    parameters, kind = Config(data, f"{config.path}rope_parameters."), data["rope_type"]
    width = 2 * -(-_rotated(head_dim, parameters) // 2)
    videos, counted = "mrope_section" in parameters or name.startswith(_VIDEOS), name.startswith(_COUNTED)
    many = VIDEO_POSITIONS if videos and not counted else 1
    if "dual_chunk_attention_config" in config:
        chunks = config.at("dual_chunk_attention_config")
        return RotaryTable(length + 4 * (chunks.positive("chunk_size") - chunks.count("local_size")), width)
    if kind in ("longrope", "su"):
        return RotaryTable(length + _original(config, parameters, length), width)
    if kind in ("yarn", "telechat3-yarn"):
        rows = _scaled(parameters, many * _original(config, parameters, length))
        # gpt_oss.py:OAIAttention asks for it whatever the model is served in.
        dtype = "float32" if name == "GptOssForCausalLM" else None
        return RotaryTable(rows, width, dtype, counted=videos and counted)
    if kind == "deepseek_yarn":
        wide = "float32" if head_dim in _FLASHINFER_WIDTHS else None
        return RotaryTable(_scaled(parameters, _original(config, parameters, length)), width, eager_dtype=wide)
    if kind == "linear":
        return RotaryTable(_scaled(parameters, length), width)
    if kind == "proportional":
        return RotaryTable(length, head_dim)
    return RotaryTable(many * length, width, counted=videos and counted)


def _rotated(head_dim: int, parameters: Config) -> int:
    part = parameters.data["partial_rotary_factor"]
    if not isinstance(part, int | float) or isinstance(part, bool) or not 0 < part <= 1:
        raise ConfigError(
            f"`{parameters.path}partial_rotary_factor` must be above 0 and at most 1, not {str(part)[:40]}"
        )
    return parameters.positive("rope_dim", default=int(head_dim * part) or 1)


def _original(config: Config, parameters: Config, length: int) -> int:
    """`original_max_position_embeddings`, which Phi-3 keeps beside the parameters, and which is `length` by default."""
    key = "original_max_position_embeddings"
    return config.positive(key) if key in config else parameters.positive(key, default=length)


def _scaled(parameters: Config, rows: int) -> int:
    return math.ceil(rows * scaling_factor(parameters))
