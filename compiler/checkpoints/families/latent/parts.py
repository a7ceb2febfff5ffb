"""Pieces of decoders with multi-head latent attention (vllm/model_executor/models/deepseek_v2.py, 0.33.0)."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.architecture import (
    Experts,
    HeadCache,
    IndexerCache,
    LatentCache,
    Linear,
    Module,
    Split,
    Vector,
)
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.parts import gated_mlp, norms
from compiler.checkpoints.families.terms import check_groups, check_present, check_scoring


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Numbers of a latent attention layer.

    Attributes:
        query_rank: of the queries' low-rank projection; None where queries are projected at once.
        rank: of the latent that keys and values are made from.
        nope, rope: widths of a query's parts without and with position.
        value: width of a head's value.
        gated: whether the output has a gate (vllm/models/kimi_k3/nvidia/mla.py).
    """

    hidden: int
    heads: int
    query_rank: int | None
    rank: int
    nope: int
    rope: int
    value: int
    gated: bool = False

    @classmethod
    def read(cls, config: Config) -> LatentAttention:
        """By the names that DeepSeek gave them. `q_lora_rank` may be null, but it must be there."""
        if "q_lora_rank" not in config.data:
            raise ConfigError(f"`{config.path}q_lora_rank` is missing")
        return cls(
            hidden=config.positive("hidden_size"),
            heads=config.positive("num_attention_heads"),
            query_rank=config.positive("q_lora_rank") if "q_lora_rank" in config else None,
            rank=config.positive("kv_lora_rank"),
            nope=config.count("qk_nope_head_dim"),
            rope=config.positive("qk_rope_head_dim"),
            value=config.positive("v_head_dim"),
        )

    def modules(self, *, fused: bool = True, name: str = "self_attn") -> tuple[Module, ...]:
        """Projections and norms; the down-projections stand on every rank.

        Args:
            fused: whether the engine keeps both down-projections as one (DeepSeekV2FusedQkvAProjLinear).
        """
        heads, latent = self.heads, self.rank + self.rope
        one = f"{name}.fused_qkv_a_{'g_' if self.gated else ''}proj"
        both = one if fused and self.query_rank is not None else None
        gate = Linear(f"{name}.g_proj", heads * self.value, self.hidden, Split.OUTPUTS, fused=both)
        return (
            *self._queries(name, both),
            Linear(f"{name}.kv_a_proj_with_mqa", latent, self.hidden, Split.REPLICATED, fused=both),
            *((gate,) if self.gated else ()),
            *norms(self.rank, f"{name}.kv_a_layernorm"),
            Linear(f"{name}.kv_b_proj", heads * (self.nope + self.value), self.rank, Split.OUTPUTS),
            Linear(f"{name}.o_proj", self.hidden, heads * self.value, Split.INPUTS),
        )

    def _queries(self, name: str, both: str | None) -> tuple[Module, ...]:
        outputs = self.heads * (self.nope + self.rope)
        if self.query_rank is None:
            return (Linear(f"{name}.q_proj", outputs, self.hidden, Split.OUTPUTS),)
        return (
            Linear(f"{name}.q_a_proj", self.query_rank, self.hidden, Split.REPLICATED, fused=both),
            *norms(self.query_rank, f"{name}.q_a_layernorm"),
            Linear(f"{name}.q_b_proj", outputs, self.query_rank, Split.OUTPUTS),
        )

    def latent_cache(self, topk: int | None = None) -> LatentCache:
        """The cache of one latent for each token, of which an indexer picks `topk`."""
        return LatentCache(self.rank + self.rope, topk)

    def head_cache(self) -> HeadCache:
        """The cache of models whose code makes whole heads of the latent; values are padded to the width of keys."""
        width = self.nope + self.rope
        if self.value > width:
            raise ConfigError(f"`v_head_dim` {self.value} is wider than keys of qk_nope_head_dim + qk_rope_head_dim")
        return HeadCache(self.heads, width, width)


def indexer(config: Config, latent: LatentAttention, name: str = "self_attn.indexer") -> tuple[Module, ...]:
    """What picks the tokens that sparse attention reads (Indexer); it stands whole on every rank.

    wk and weights_proj are served as one unquantized projection, whatever the checkpoint holds.
    """
    if latent.query_rank is None:
        raise ConfigError(f"`{config.path}q_lora_rank` must be a number in a model with an indexer (`index_topk`)")
    heads, width = config.positive("index_n_heads"), config.positive("index_head_dim")
    fused = f"{name}.wk_weights_proj"
    return (
        Linear(f"{name}.wq_b", heads * width, latent.query_rank, Split.REPLICATED),
        Linear(f"{name}.wk", width, latent.hidden, Split.REPLICATED, fused=fused, quantized=False),
        Linear(f"{name}.weights_proj", heads, latent.hidden, Split.REPLICATED, fused=fused, quantized=False),
        Vector(f"{name}.k_norm.weight", width, dtype="F32"),
        Vector(f"{name}.k_norm.bias", width, dtype="F32"),
    )


def indexer_cache(config: Config) -> IndexerCache:
    """The indexer's own cache of keys."""
    return IndexerCache(config.positive("index_head_dim"))


def indexed_layers(config: Config, count: int) -> tuple[bool, ...]:
    """Which layers have an indexer of their own; the others read what an earlier one picked.

    `index_topk_pattern` says it layer by layer (`S` shares), otherwise every `index_topk_freq`th layer has one.
    """
    if "index_topk" not in config:
        return (False,) * count
    pattern = config.data.get("index_topk_pattern")
    if pattern is None:
        step, offset = config.positive("index_topk_freq", default=1), config.count("index_skip_topk_offset", default=2)
        return tuple(max(index - offset + 1, 0) % step == 0 for index in range(count))
    if not isinstance(pattern, str | list):
        raise ConfigError(f"`{config.path}index_topk_pattern` must be a list or a string, not {str(pattern)[:40]}")
    return tuple(index >= len(pattern) or pattern[index] != "S" for index in range(count))


def moe_layers(config: Config, count: int) -> tuple[bool, ...]:
    """Which layers have routed experts: from `first_k_dense_replace` on, every `moe_layer_freq`th."""
    if not config.data.get("n_routed_experts"):
        return (False,) * count
    first, step = config.count("first_k_dense_replace"), config.positive("moe_layer_freq", default=1)
    return tuple(index >= first and index % step == 0 for index in range(count))


def routed_mlp(config: Config, *, float32_router: bool) -> tuple[Module, ...]:
    """Router, shared experts and routed experts of a layer (DeepseekV2MoE, Glm4MoE).

    Args:
        float32_router: as in GLM: the router is kept in float32, and its correction bias is always there.
    """
    if not float32_router:
        check_scoring(config)
    hidden, count = config.positive("hidden_size"), config.positive("n_routed_experts")
    if config.text("model_type") == "deepseek_v2":
        check_present(config, "n_group", "topk_group")
    check_groups(config, count)
    width, shared = config.positive("moe_intermediate_size"), config.count("n_shared_experts", default=0)
    biased = float32_router or config.text("topk_method") == "noaux_tc"
    router = "F32" if float32_router else None
    return (
        Linear("mlp.gate", count, hidden, Split.REPLICATED, quantized=False, dtype=router),
        *((Vector("mlp.gate.e_score_correction_bias", count, dtype="F32"),) if biased else ()),
        *(gated_mlp(width * shared, hidden, name="mlp.shared_experts") if shared else ()),
        Experts("mlp.experts", count, hidden, width, config.positive("num_experts_per_tok")),
    )
