"""Decoders whose layers differ in size: Nemotron's pruned models.

vllm/model_executor/models/nemotron_nas.py of 0.33.0.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.checkpoints.architecture import Architecture, Layer, Module
from compiler.checkpoints.config import Config, ConfigError, head_dim_of
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.decoder import Sizes, assemble
from compiler.checkpoints.families.dense.plain import biases
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms

_WIDTH_UNIT = 256
_LARGEST_MULTIPLE = 1024


def decilm(name: str, config: Config) -> Architecture:
    """DeciLMForCausalLM: a layer may lack attention or MLP, and each has its own KV heads and width."""
    count, hidden = config.layers(), config.positive("hidden_size")
    blocks = config.per_layer("block_configs", count)
    built: dict[tuple[int, int], Layer] = {}
    layers: list[Layer] = []
    for index, block in enumerate(blocks):
        path = f"{config.path}block_configs[{index}]"
        if not isinstance(block, Mapping):
            raise ConfigError(f"`{path}` must be a map, not {str(block)[:40]}")
        ffn = Config(block, f"{path}.").at("ffn")
        check_activation(ffn if "hidden_act" in ffn else config, SILU)
        sizes = _kv_heads(config, Config(block, f"{path}.")), _width(Config(block, f"{path}."), hidden)
        if sizes not in built:
            built[sizes] = _layer(config, *sizes)
        layers.append(built[sizes])
    most, widest = max(kv for kv, _ in built), max(width for _, width in built)
    if not most or not widest:
        raise ConfigError(f"`{config.path}block_configs` leaves no layer with attention, or none with an MLP")
    numbers = Sizes(hidden, widest, config.positive("vocab_size"))
    return assemble(name, config, tuple(layers), _heads(config, most), numbers)


def _heads(config: Config, kv_heads: int) -> Heads:
    query = config.positive("num_attention_heads")
    return Heads(query, kv_heads, head_dim_of(config, config.positive("hidden_size"), query))


def _kv_heads(config: Config, block: Config) -> int:
    """Of one layer; 0 where it has no attention."""
    attention_block, query = block.at("attention"), config.positive("num_attention_heads")
    if attention_block.flag("no_op"):
        return 0
    if attention_block.flag("replace_with_linear"):
        raise ConfigError(f"`{attention_block.path}replace_with_linear`: vLLM has no such layer")
    group = attention_block.positive("n_heads_in_group")
    if query % group:
        raise ConfigError(f"`{attention_block.path}n_heads_in_group` {group} does not divide {query} attention heads")
    return query // group


def _width(block: Config, hidden: int) -> int:
    """Of one layer's MLP; 0 where it has none."""
    ffn = block.at("ffn")
    if ffn.flag("no_op"):
        return 0
    if "ffn_mult" not in ffn:
        return ffn.positive("intermediate_size")
    multiple = ffn.data["ffn_mult"]
    if not isinstance(multiple, int | float) or isinstance(multiple, bool) or not 0 < multiple < _LARGEST_MULTIPLE:
        raise ConfigError(f"`{ffn.path}ffn_mult` must be a positive number, not {str(multiple)[:40]}")
    return -(-int(2 * multiple * hidden / 3) // _WIDTH_UNIT) * _WIDTH_UNIT


def _layer(config: Config, kv_heads: int, width: int) -> Layer:
    hidden, bias = config.positive("hidden_size"), config.flag("mlp_bias")
    modules: tuple[Module, ...] = ()
    if kv_heads:
        qkv_bias, out_bias = biases(config)
        heads = _heads(config, kv_heads)
        modules = (*norms(hidden, "input_layernorm"), *attention(heads, hidden, qkv_bias=qkv_bias, out_bias=out_bias))
    if width:
        modules = (*modules, *norms(hidden, "post_attention_layernorm"), *gated_mlp(width, hidden, bias=bias))
    return Layer(modules, (_heads(config, kv_heads).cache(),) if kv_heads else ())
