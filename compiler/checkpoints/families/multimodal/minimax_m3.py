"""MiniMax M3: blocks of tokens that an indexer picks, and experts beside a shared one.

vllm/models/minimax_m3/{nvidia/model,common/indexer,common/vision_tower}.py of 0.33.0. Layers for drafting are not read.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, KeyCache, Layer, Linear, Module, Split
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import check_activation
from compiler.checkpoints.families.experts.parts import LAYER_NORMS, Frame, layers_like, routed, router, score_bias
from compiler.checkpoints.families.multimodal.composed import Renames, around
from compiler.checkpoints.families.parts import attention, gated_mlp, norms
from compiler.checkpoints.families.terms import check_scoring
from compiler.checkpoints.families.towers.native import minimax_m3_tower

_NAMES: Renames = (
    ("multi_modal_projector.", "vision_tower.multi_modal_projector."),
    ("patch_merge_mlp.", "vision_tower.patch_merge_mlp."),
)


def minimax_m3_text(name: str, config: Config) -> Architecture:
    """MiniMaxM3SparseForCausalLM."""
    check_activation(config, ("swigluoai",))
    check_scoring(config)
    frame, count = Frame.read(config, config.positive("dense_intermediate_size")), config.layers()
    sparse = config.at("sparse_attention_config")
    picks, mixes = _marks(sparse, "sparse_attention_freq", count), _marks(config, "moe_layer_freq", count)
    dense = gated_mlp(frame.width, frame.hidden)
    keys = KeyCache(sparse.positive("sparse_index_dim"), frame.heads.kv, sparse.positive("sparse_topk_blocks"))

    def build(kind: tuple[bool, bool]) -> Layer:
        indexed, routes = kind
        modules = (
            *frame.norms(*LAYER_NORMS),
            *norms(frame.heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
            *attention(frame.heads, frame.hidden),
            *(_indexer(sparse, frame) if indexed else ()),
            *(_experts(config, frame.hidden) if routes else dense),
        )
        cache = frame.heads.cache()
        if not indexed:
            return Layer(modules, (cache,))
        return Layer(modules, (replace(cache, scaled=False), keys))

    return frame.architecture(name, config, layers_like(count, lambda index: (picks[index], mixes[index]), build))


def _marks(config: Config, key: str, count: int) -> tuple[bool, ...]:
    return tuple(value != 0 for value in config.per_layer(key, count))


def _indexer(sparse: Config, frame: Frame) -> tuple[Module, ...]:
    """Its projections are one with those of queries, keys and values; its queries have as many heads as keys have."""
    heads, dim, fused = frame.heads.kv, sparse.positive("sparse_index_dim"), "self_attn.qkv_proj"
    if sparse.positive("sparse_num_index_heads") != heads:
        raise ConfigError(f"`{sparse.path}sparse_num_index_heads` must be num_key_value_heads, {heads}")
    return (
        Linear("self_attn.index_q_proj", heads * dim, frame.hidden, Split.KV_HEADS, fused=fused, heads=heads),
        Linear("self_attn.index_k_proj", dim, frame.hidden, Split.REPLICATED, fused=fused),
        *norms(dim, "self_attn.index_q_norm", "self_attn.index_k_norm"),
    )


def _experts(config: Config, hidden: int) -> tuple[Module, ...]:
    name, count, width = "block_sparse_moe", config.positive("num_local_experts"), config.positive("intermediate_size")
    shared = config.count("n_shared_experts", default=1)
    biased = config.flag("use_routing_bias", default=True)
    return (
        *((score_bias(f"{name}.e_score_correction_bias", count),) if biased else ()),
        router(f"{name}.gate", count, hidden, dtype="F32"),
        *(gated_mlp(width * shared, hidden, name=f"{name}.shared_experts") if shared else ()),
        routed(config, count, width, f"{name}.experts", needs_rank_each=True, projections=("w1", "w3", "w2")),
    )


minimax_m3 = around(minimax_m3_text, lambda config: (minimax_m3_tower(config),), _NAMES)
"""MiniMaxM3SparseForConditionalGeneration."""
