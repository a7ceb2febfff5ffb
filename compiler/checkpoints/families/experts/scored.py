"""Mixtures of experts by names and rules of their own: Ling, Trinity, Hunyuan 3, EXAONE, Command A.

vllm/model_executor/models/{bailing_moe,afmoe,hy_v3,exaone_moe,cohere2_moe}.py of 0.33.0; defaults are those of
transformers' configuration classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.decoder import Frame, Sizes, assemble, gated, layer_norms, projections
from compiler.checkpoints.families.experts.parts import is_experts_pattern, layers_like, routed, router, score_bias
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.terms import check_groups, check_scoring, check_value
from compiler.checkpoints.families.windows import FULL, SLIDING, layer_windows, uniform_windows

_TWO_NORMS = ("input_layernorm", "post_attention_layernorm")


@dataclass(frozen=True, slots=True)
class _Layers:
    """Modules of two kinds of layers that differ in their MLPs.

    Attributes:
        is_scaled: whether the engine tells attention of a quantizer, which adds scales to it.
    """

    heads: Heads
    mixed: tuple[Module, ...]
    dense: tuple[Module, ...]
    experts: tuple[Module, ...]
    is_scaled: bool = True

    def built(self, sparse: Sequence[bool], windows: Sequence[int | None]) -> tuple[Layer, ...]:
        """One after the other."""

        def build(kind: tuple[bool, int | None]) -> Layer:
            routes, window = kind
            cache = replace(self.heads.cache(window), scaled=self.is_scaled)
            return Layer((*self.mixed, *(self.experts if routes else self.dense)), (cache,))

        return layers_like(len(sparse), lambda index: (sparse[index], windows[index]), build)


def _first_dense(config: Config, count: int, key: str, default: int | None = None) -> tuple[bool, ...]:
    first = config.count(key, default=default)
    return tuple(index >= first for index in range(count))


def _by_layer(config: Config, count: int, default: int) -> tuple[bool, ...]:
    """`mlp_layer_types`, or `first_k_dense_replace` dense layers before those with experts."""
    if "mlp_layer_types" not in config:
        return _first_dense(config, count, "first_k_dense_replace", default)
    return is_experts_pattern(config.per_layer("mlp_layer_types", count), config, "mlp_layer_types")


def bailing_moe(name: str, config: Config) -> Architecture:
    """BailingMoeForCausalLM of both generations (Ling, Ring): queries, keys and values are stored as one tensor."""
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    bias, path = config.flag("use_bias"), "attention"
    normed = norms if config.flag("use_rmsnorm") else layer_norms
    mixed = (
        *norms(sizes.hidden, *_TWO_NORMS),
        *projections(
            heads,
            sizes.hidden,
            f"{path}.query_key_value",
            f"{path}.dense",
            qkv_bias=bias or config.flag("use_qkv_bias"),
            out_bias=bias,
        ),
        *(normed(heads.dim, f"{path}.query_layernorm", f"{path}.key_layernorm") if config.flag("use_qk_norm") else ()),
    )
    dense, routes = gated_mlp(sizes.width, sizes.hidden, bias=bias), _bailing_experts(config, bias=bias)
    layers = _Layers(heads, mixed, dense, routes, is_scaled=False)
    sparse = _first_dense(config, count, "first_k_dense_replace")
    frame = Frame(table="model.word_embeddings")
    return assemble(name, config, layers.built(sparse, uniform_windows(config, count)), heads, sizes, frame=frame)


def _bailing_experts(config: Config, *, bias: bool) -> tuple[Module, ...]:
    count, hidden, width = config.positive("num_experts"), config.positive("hidden_size"), _width(config)
    shared = config.positive("moe_shared_expert_intermediate_size", default=width) * config.count("num_shared_experts")
    kept = {"fp32": "F32", "": None}.get(config.text("router_dtype"), "BF16")
    corrected = config.flag("moe_router_enable_expert_bias")
    if config.data.get("score_function") is not None:
        check_value(config, "score_function", ("sigmoid" if corrected else "softmax",))
    return (
        router("mlp.gate", count, hidden, dtype=kept),
        *((score_bias("mlp.gate.expert_bias", count),) if corrected else ()),
        *(gated_mlp(shared, hidden, bias=bias, name="mlp.shared_experts") if shared else ()),
        routed(config, count, width),
    )


def _width(config: Config) -> int:
    return config.positive("moe_intermediate_size")


def _shared(config: Config, width: int, name: str, *, default: int = 0) -> tuple[Module, ...]:
    count = config.count("num_shared_experts", default=default)
    return gated_mlp(width * count, config.positive("hidden_size"), name=name) if count else ()


def afmoe(name: str, config: Config) -> Architecture:
    """AfmoeForCausalLM (Trinity): a gate over attention's output, norms before and behind; its head is never tied."""
    check_activation(config, SILU)
    check_scoring(config, "score_func")
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    experts = config.positive("num_experts", default=64)
    check_groups(config, experts)
    mixed = (
        *norms(sizes.hidden, *_TWO_NORMS, "pre_mlp_layernorm", "post_mlp_layernorm"),
        *norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *attention(heads, sizes.hidden),
        Linear("self_attn.gate_proj", heads.query * heads.dim, sizes.hidden, Split.OUTPUTS),
    )
    width = config.positive("moe_intermediate_size", default=1408)
    routes = (
        router("mlp.router.gate", experts, sizes.hidden, dtype="F32"),
        score_bias("mlp.expert_bias", experts),
        *_shared(config, width, "mlp.shared_experts", default=2),
        routed(config, experts, width),
    )
    layers = _Layers(heads, mixed, gated_mlp(sizes.width, sizes.hidden), routes)
    windows = _every(config, count, "global_attn_every_n_layers", 1024)
    built = layers.built(_first_dense(config, count, "num_dense_layers", 1), windows)
    untied = Config({**config.data, "tie_word_embeddings": False}, config.path)
    return replace(assemble(name, untied, built, heads, sizes), needs_experts=True)


def _every(config: Config, count: int, key: str, window: int) -> tuple[int | None, ...]:
    """Windows by `layer_types`; where they are absent, every so many layers one sees everything."""
    step = config.positive(key, default=4)
    kinds = tuple(SLIDING if (index + 1) % step else FULL for index in range(count))
    listed = {"sliding_window": window, "layer_types": list(kinds)} | {
        key: value for key, value in config.data.items() if value is not None
    }
    return layer_windows(Config(listed, config.path), count)


def hy_v3(name: str, config: Config) -> Architecture:
    """HYV3ForCausalLM: the head stands on every pipeline stage; a rank needs an expert."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    experts, width = config.positive("num_experts"), config.positive("expert_hidden_dim")
    mixed = (
        *norms(sizes.hidden, *_TWO_NORMS),
        *(norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm") if config.flag("qk_norm") else ()),
        *attention(heads, sizes.hidden),
    )
    routes = (
        router("mlp.router.gate", experts, sizes.hidden, dtype="F32"),
        score_bias("mlp.expert_bias", experts),
        *_shared(config, width, "mlp.shared_mlp", default=1),
        routed(config, experts, width, needs_rank_each=True),
    )
    layers = _Layers(heads, mixed, gated_mlp(sizes.width, sizes.hidden), routes)
    built = layers.built(_first_dense(config, count, "first_k_dense_replace"), uniform_windows(config, count))
    return replace(assemble(name, config, built, heads, sizes, frame=Frame(on_every_stage=True)), needs_experts=True)


def exaone_moe(name: str, config: Config) -> Architecture:
    """ExaoneMoeForCausalLM: normalised heads; a rank needs an expert."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    experts, width = config.positive("num_experts", default=64), config.positive("moe_intermediate_size", default=1024)
    bias = config.flag("attention_bias") or config.flag("bias")
    mixed = (
        *norms(sizes.hidden, *_TWO_NORMS),
        *norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
    )
    routes = (
        router("mlp.gate", experts, sizes.hidden),
        score_bias("mlp.e_score_correction_bias", experts),
        *_shared(config, width, "mlp.shared_experts", default=1),
        routed(config, experts, width, needs_rank_each=True),
    )
    layers = _Layers(heads, mixed, gated_mlp(sizes.width, sizes.hidden), routes)
    windows = _every(config, count, "sliding_window_pattern", 4096)
    return assemble(name, config, layers.built(_by_layer(config, count, 1), windows), heads, sizes)


def cohere2_moe(name: str, config: Config) -> Architecture:
    """Cohere2MoeForCausalLM: one norm a layer, no output head, experts as wide as dense MLPs."""
    check_value(config, "shared_expert_combination_strategy", ("sum", "average"))
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    experts = config.positive("num_experts", default=8)
    mixed = (*norms(sizes.hidden, "input_layernorm"), *attention(heads, sizes.hidden))
    routes = (
        router("mlp.gate", experts, sizes.hidden),
        *_shared(config, sizes.width, "mlp.shared_experts"),
        routed(config, experts, sizes.width, needs_rank_each=True),
    )
    wide = config.positive("prefix_dense_intermediate_size", default=sizes.width)
    dense = gated(wide, sizes.hidden, ("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj")
    layers = _Layers(heads, mixed, dense, routes)
    # Its attention sees the token itself beside a whole window.
    windows = tuple(None if one is None else one + 1 for one in _every(config, count, "sliding_window_pattern", 4096))
    frame = Frame(on_every_stage=True, always_tied=True)
    return assemble(name, config, layers.built(_by_layer(config, count, 0), windows), heads, sizes, frame=frame)
