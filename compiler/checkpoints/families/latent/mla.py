"""Decoders with multi-head latent attention: DeepSeek V2 to V3.2, and those that took it over.

vllm/model_executor/models/{deepseek_v2,glm4_moe_lite,kimi_k25,minicpm3}.py and vllm/models/deepseek_v32 of 0.33.0.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Cache, HeadCache, LatentCache, Layer, Module
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.latent.parts import (
    LatentAttention,
    indexed_layers,
    indexer,
    indexer_cache,
    moe_layers,
    routed_mlp,
)
from compiler.checkpoints.families.parts import Heads, attention, dtype_of, embeddings, gated_mlp, norms
from compiler.checkpoints.families.parts import head as output_head
from compiler.checkpoints.families.rotary import rotary_tables
from compiler.checkpoints.lengths import max_model_len, rope_parameters
from compiler.checkpoints.rope_terms import check_latent_rope

# vllm/transformers_utils/model_arch_config_convertor.py:is_deepseek_mla. The same code caches whole heads for a model
# of any other type.
LATENT_TYPES = frozenset(
    {
        "axk1",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "glm_moe_dsa",
        "glm4_moe_lite",
        "kimi_k2",
        "longcat_flash",
        "mistral4",
    }
)


def deepseek(name: str, config: Config) -> Architecture:
    """DeepseekForCausalLM, DeepseekV2ForCausalLM and DeepseekV3ForCausalLM share their code."""
    return decoder(name, config)


def sparse(name: str, config: Config) -> Architecture:
    """DeepseekV32ForCausalLM and GlmMoeDsaForCausalLM: always latent, always with an indexer."""
    config.positive("index_topk")
    if not is_latent(config):
        raise ConfigError(f"`{config.path}model_type` is none that vLLM serves with sparse latent attention")
    return decoder(name, config)


def glm4_lite(name: str, config: Config) -> Architecture:
    """Glm4MoeLiteForCausalLM: the router is float32."""
    return replace(decoder(name, config, float32_router=True), needs_experts=True)


def axk1(name: str, config: Config) -> Architecture:
    """AXK1ForCausalLM: one norm more behind each MLP (axk1.py)."""
    corrected = Config({"topk_method": "noaux_tc", **config.data}, config.path)
    whole, hidden = decoder(name, corrected), config.positive("hidden_size")
    layers = {
        id(layer): replace(layer, modules=(*layer.modules, *norms(hidden, "post_mlp_layernorm")))
        for layer in whole.kinds
    }
    return replace(whole, layers=tuple(layers[id(layer)] for layer in whole.layers))


def minicpm3(name: str, config: Config) -> Architecture:
    """MiniCPM3ForCausalLM: latent projections, but the cache holds whole heads."""
    check_activation(config, ("silu", "fatrelu"))
    if config.data.get("num_experts"):
        raise ConfigError(f"`{config.path}num_experts`: MiniCPM3 with experts is not accounted for")
    latent, count = _minicpm_attention(config), config.layers()
    modules = (
        *norms(latent.hidden, "input_layernorm", "post_attention_layernorm"),
        *latent.modules(fused=False),
        *gated_mlp(config.positive("intermediate_size"), latent.hidden),
    )
    layers = (Layer(modules, (latent.head_cache(),)),) * count
    # MiniCPM3Config of transformers ties the tables of a config that does not say.
    tied = config.flag("tie_word_embeddings", default=True)
    whole = latent_decoder(name, config, layers, tied=tied)
    # minicpm.py makes the tables and the last norm on every pipeline stage.
    return replace(whole, first=(), last=(), everywhere=(*whole.first, *whole.last))


def _minicpm_attention(config: Config) -> LatentAttention:
    """Where `v_head_dim` is absent, transformers' MiniCPM3Config takes it from the hidden size."""
    if "v_head_dim" in config:
        return LatentAttention.read(config)
    value = config.positive("hidden_size") // config.positive("num_attention_heads")
    return LatentAttention.read(Config({**config.data, "v_head_dim": value}, config.path))


def is_latent(config: Config) -> bool:
    """Whether vLLM caches latents for this model (vllm/config/model.py:use_mla)."""
    known = config.text("model_type") in LATENT_TYPES
    return known and "kv_lora_rank" in config and config.flag("is_causal", default=True)


def decoder(
    name: str,
    config: Config,
    *,
    float32_router: bool = False,
) -> Architecture:
    """The decoder that `config` describes; its output head is never tied.

    Args:
        float32_router: the routers are kept in float32.
    """
    check_activation(config, SILU)
    count = config.layers()
    kinds = tuple(zip(moe_layers(config, count), indexed_layers(config, count), strict=True))
    built = {kind: _layer(config, moe=kind[0], indexed=kind[1], float32_router=float32_router) for kind in set(kinds)}
    layers = tuple(built[kind] for kind in kinds)
    return latent_decoder(name, config, layers, tied=False)


def _layer(config: Config, *, moe: bool, indexed: bool, float32_router: bool) -> Layer:
    hidden = config.positive("hidden_size")
    mixing, caches = _attention(config, indexed=indexed)
    if moe:
        mlp = routed_mlp(config, float32_router=float32_router)
    else:
        mlp = gated_mlp(config.positive("intermediate_size"), hidden)
    return Layer((*norms(hidden, "input_layernorm", "post_attention_layernorm"), *mixing, *mlp), caches)


def _attention(config: Config, *, indexed: bool) -> tuple[tuple[Module, ...], tuple[Cache, ...]]:
    """Modules and caches; DeepseekAttention of the first DeepSeek and of configs without latent widths is plain."""
    if config.data.get("rswa_window") is not None:
        raise ConfigError(f"`{config.path}rswa_window` is not accounted for")
    if _is_plain(config):
        heads = _plain_heads(config)
        return attention(heads, config.positive("hidden_size")), (heads.cache(),)
    for rope in rope_parameters(config):
        check_latent_rope(rope)
    latent = LatentAttention.read(config)
    if not is_latent(config):
        return latent.modules(fused=False), (latent.head_cache(),)
    cache = latent.latent_cache(config.positive("index_topk") if "index_topk" in config else None)
    if not indexed:
        return latent.modules(), (cache,)
    return (*latent.modules(), *indexer(config, latent)), (indexer_cache(config), cache)


def _is_plain(config: Config) -> bool:
    widths = (config.count(key, default=0) for key in ("qk_nope_head_dim", "qk_rope_head_dim"))
    return config.text("model_type") == "deepseek" or not any(widths)


def _plain_heads(config: Config) -> Heads:
    query, hidden = config.positive("num_attention_heads"), config.positive("hidden_size")
    kv = config.positive("num_key_value_heads", default=query)
    if hidden % query or query % kv:
        raise ConfigError(
            f"`{config.path}num_attention_heads` {query} must divide hidden_size {hidden} "
            f"and be a multiple of num_key_value_heads {kv}"
        )
    return Heads(query, kv, hidden // query)


def latent_decoder(
    name: str,
    config: Config,
    layers: tuple[Layer, ...],
    *,
    tied: bool = False,
) -> Architecture:
    """What stands around such layers."""
    vocab, hidden = config.positive("vocab_size"), config.positive("hidden_size")
    kv_heads, width = _heads_of(layers[0].caches[-1])
    return Architecture(
        name=name,
        layers=layers,
        first=(embeddings(vocab, hidden, "model.embed_tokens"),),
        last=(*norms(hidden, "model.norm"), *output_head(vocab, hidden, tied=tied)),
        hidden_size=hidden,
        intermediate_size=config.positive("intermediate_size"),
        num_attention_heads=config.positive("num_attention_heads"),
        num_kv_heads=kv_heads,
        head_dim=width,
        vocab_size=vocab,
        tie_word_embeddings=tied,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
        rotary=rotary_tables(name, config, layers, width),
    )


def _heads_of(cache: Cache) -> tuple[int, int]:
    """KV heads and their width, as vLLM's attention backends see them: a latent is one head."""
    if isinstance(cache, HeadCache):
        return cache.kv_heads, cache.head_dim
    return 1, cache.width if isinstance(cache, LatentCache) else 0
