"""Mixtures of experts whose layers attend in different ways: Llama 4, MiMo V2, Laguna, Step 3.5.

vllm/model_executor/models/{llama4,mimo_v2,laguna,step3p5}.py of 0.33.0.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError, head_dim_of
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.experts.parts import (
    LAYER_NORMS,
    Frame,
    is_experts_pattern,
    layers_like,
    routed,
    router,
    score_bias,
)
from compiler.checkpoints.families.experts.plain import heads_of
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.terms import check_scoring, check_value
from compiler.checkpoints.families.windows import layer_windows
from compiler.checkpoints.lengths import rope_parameters
from compiler.checkpoints.rope_terms import check_keys, type_of

_SLIDING = "sliding_attention"
_NOPE_INTERVAL = 4  # transformers' Llama4TextConfig
_CHUNK, _LLAMA4_WIDTH = 8192, 16384


def llama4(name: str, config: Config) -> Architecture:
    """Llama4ForCausalLM: layers with rotary positions attend within chunks, the others to everything."""
    width, count = config.positive("intermediate_size_mlp", default=_LLAMA4_WIDTH), config.layers()
    frame = Frame.read(config, width, ties=True)
    step = config.count("interleave_moe_layer_step", default=1)
    rotary, chunk = _rotary(config, count), config.count("attention_chunk_size", default=_CHUNK)
    attended = (*frame.norms(*LAYER_NORMS), *attention(frame.heads, frame.hidden))

    def build(kind: tuple[bool, bool]) -> Layer:
        mixes, rotates = kind
        dense = gated_mlp(width, frame.hidden, name="feed_forward")
        chunked = frame.heads.cache(chunk=chunk if rotates and chunk else None)
        return Layer((*attended, *(_llama4_experts(config, frame) if mixes else dense)), (chunked,))

    layers = layers_like(count, lambda i: (step > 0 and (i + 1) % step == 0, rotary[i]), build)
    return frame.architecture(name, config, layers)


def _rotary(config: Config, count: int) -> tuple[bool, ...]:
    """`no_rope_layers`: 1 for rotary positions; every fourth layer has none where the list is empty."""
    if not config.items("no_rope_layers"):
        interval = config.positive("no_rope_layer_interval", default=_NOPE_INTERVAL)
        return tuple((index + 1) % interval != 0 for index in range(count))
    return tuple(bool(value) for value in config.per_layer("no_rope_layers", count))


def _llama4_experts(config: Config, frame: Frame) -> tuple[Module, ...]:
    count, width = config.positive("num_local_experts"), config.positive("intermediate_size")
    return (
        router("feed_forward.router", count, frame.hidden),
        routed(config, count, width, "feed_forward.experts"),
        *gated_mlp(width, frame.hidden, name="feed_forward.shared_expert"),
    )


def mimo_v2(name: str, config: Config) -> Architecture:
    """MiMoV2FlashForCausalLM: windows and full attention have heads of their own, and values are narrower than keys."""
    count = config.layers()
    if config.text("attention_projection_layout") == "fused_qkv":
        raise ConfigError(f"`{config.path}attention_projection_layout` fused_qkv is not something stackc knows")
    check_activation(config, SILU)
    full = heads_of(config, "num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim")
    slid = heads_of(config, "swa_num_attention_heads", "swa_num_key_value_heads", "swa_head_dim", "swa_v_head_dim")
    frame = Frame.read(config, config.positive("intermediate_size"), full)
    windowed = _marks(config, "hybrid_layer_pattern", count)
    sparse = _marks(config, "moe_layer_freq", count)

    def build(kind: tuple[bool, bool]) -> Layer:
        slides, mixes = kind
        heads = slid if slides else full
        window = config.positive("sliding_window_size") if slides else None
        dense = gated_mlp(frame.width, frame.hidden)
        modules = (
            *frame.norms(*LAYER_NORMS),
            *(_sinks(config, heads) if slides else ()),
            *attention(heads, frame.hidden, qkv_bias=config.flag("attention_bias")),
            *(_mimo_experts(config, frame) if mixes else dense),
        )
        return Layer(modules, (heads.cache(window),))

    layers = layers_like(count, lambda i: (windowed[i], sparse[i]), build)
    return replace(frame.architecture(name, config, layers), drafting_prefixes=("model.mtp.",))


def _marks(config: Config, key: str, count: int) -> tuple[bool, ...]:
    values = config.per_layer(key, count)
    if any(value not in (0, 1) for value in values):
        raise ConfigError(f"`{config.path}{key}` must hold zeros and ones")
    return tuple(bool(value) for value in values)


def _sinks(config: Config, heads: Heads) -> tuple[Module, ...]:
    if not config.flag("add_swa_attention_sink_bias"):
        return ()
    return (Vector("self_attn.attention_sink_bias", heads.query, Split.OUTPUTS),)


def _mimo_experts(config: Config, frame: Frame) -> tuple[Module, ...]:
    dtypes = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
    named, count = config.text("moe_router_dtype", default="float32"), config.positive("n_routed_experts")
    if named not in dtypes:
        raise ConfigError(f"`{config.path}moe_router_dtype` must be one of {', '.join(dtypes)}, not {named[:40]}")
    return (
        router("mlp.gate", count, frame.hidden, dtype=dtypes[named]),
        score_bias("mlp.gate.e_score_correction_bias", count),
        routed(config, count, config.positive("moe_intermediate_size"), needs_rank_each=True),
    )


def laguna(name: str, config: Config) -> Architecture:
    """LagunaForCausalLM: numbers of heads differ by layer, and a gate scales what attention returns."""
    check_activation(config, SILU)
    for rope in rope_parameters(config):
        check_keys(rope, ("original_max_position_embeddings",) if type_of(rope) == "yarn" else ())
    check_value(config, "moe_apply_router_weight_on_input", (False,))
    count, usual = config.layers(), Heads.read(config)
    heads = _laguna_heads(config, count, usual)
    widest = max(heads, key=lambda each: each.query)
    frame = Frame.read(config, config.positive("intermediate_size"), widest, ties=True)
    windows = layer_windows(config, count) if "layer_types" in config else (None,) * count
    sparse = _laguna_sparse(config, count)

    def build(kind: tuple[int, int | None, bool]) -> Layer:
        query, window, mixes = kind
        attends = Heads(query, usual.kv, usual.dim)
        mlp = _laguna_experts(config, frame) if mixes else _unfused(frame.width, frame.hidden, "mlp")
        modules = (*_laguna_attention(config, frame, attends, window), *mlp)
        return Layer(modules, (attends.cache(window),))

    return frame.architecture(
        name, config, layers_like(count, lambda i: (heads[i].query, windows[i], sparse[i]), build)
    )


def _laguna_heads(config: Config, count: int, usual: Heads) -> tuple[Heads, ...]:
    if "num_attention_heads_per_layer" not in config:
        return (usual,) * count
    numbers = config.per_layer("num_attention_heads_per_layer", count)
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool) or number < 1 or number % usual.kv:
            raise ConfigError(
                f"`{config.path}num_attention_heads_per_layer` must hold multiples of {usual.kv} KV heads, "
                f"not {str(number)[:40]}"
            )
    return tuple(Heads(number, usual.kv, usual.dim) for number in numbers)


def _laguna_attention(config: Config, frame: Frame, heads: Heads, window: int | None) -> tuple[Module, ...]:
    bias, gating = config.flag("attention_bias"), config.data.get("gating", True)
    gated = heads.query if gating in (True, "per-head") else heads.query * heads.dim
    sink = window is not None and config.flag("swa_attention_sink_enabled")
    return (
        *frame.norms(*LAYER_NORMS),
        *norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *attention(heads, frame.hidden, qkv_bias=bias, out_bias=bias),
        *((Linear("self_attn.g_proj", gated, frame.hidden, Split.OUTPUTS),) if gating else ()),
        *((Vector("self_attn.sink", heads.query, Split.OUTPUTS),) if sink else ()),
    )


def _laguna_sparse(config: Config, count: int) -> tuple[bool, ...]:
    """`mlp_layer_types`; only the first layer is dense where it is absent (transformers' LagunaConfig)."""
    if not config.count("num_experts"):
        return (False,) * count
    if "mlp_layer_types" not in config:
        return tuple(index > 0 for index in range(count))
    key = "mlp_layer_types"
    return is_experts_pattern(config.per_layer(key, count), config, key)


def _laguna_experts(config: Config, frame: Frame) -> tuple[Module, ...]:
    count, shared = config.positive("num_experts"), config.count("shared_expert_intermediate_size", default=0)
    return (
        router("mlp.gate", count, frame.hidden),
        score_bias("mlp.experts.e_score_correction_bias", count),
        routed(config, count, config.positive("moe_intermediate_size"), needs_rank_each=True),
        *(_unfused(shared, frame.hidden, "mlp.shared_expert") if shared else ()),
    )


def _unfused(width: int, hidden: int, name: str) -> tuple[Module, ...]:
    """Gate and up projections that the engine keeps apart."""
    return (
        Linear(f"{name}.gate_proj", width, hidden, Split.OUTPUTS),
        Linear(f"{name}.up_proj", width, hidden, Split.OUTPUTS),
        Linear(f"{name}.down_proj", hidden, width, Split.INPUTS),
    )


def step3p5(name: str, config: Config) -> Architecture:
    """Step3p5ForCausalLM: layers with windows may have more heads."""
    count, hidden = config.layers(), config.positive("hidden_size")
    if config.flag("is_heterogeneous"):
        raise ConfigError(f"`{config.path}is_heterogeneous` is not something stackc knows")
    check_value(config, "att_impl_type", ("GQA",))
    shares = {str(share)[:40] for share in config.items("partial_rotary_factors")[:count] if share not in (0.5, 1)}
    if shares:
        raise ConfigError(f"`{config.path}partial_rotary_factors` must be 0.5 or 1, not {min(shares)}")
    full, slid = _step_heads(config, hidden)
    frame = Frame.read(config, config.positive("intermediate_size"), max(full, slid, key=lambda each: each.query))
    slides, sparse = _step_slides(config, count), _step_sparse(config, count)
    window = config.positive("sliding_window") if config.data.get("sliding_window") else None

    def build(kind: tuple[bool, bool]) -> Layer:
        is_slid, mixes = kind
        heads = slid if is_slid else full
        mlp = _step_experts(config, frame) if mixes else gated_mlp(frame.width, hidden)
        return Layer((*_step_attention(config, frame, heads), *mlp), (heads.cache(window if is_slid else None),))

    architecture = frame.architecture(name, config, layers_like(count, lambda i: (slides[i], sparse[i]), build))
    return replace(architecture, needs_experts=True)


def _step_heads(config: Config, hidden: int) -> tuple[Heads, Heads]:
    """Of full and of sliding attention, as step3p5.py:_get_num_attention_heads looks them up."""
    query = config.positive("num_attention_heads")
    full = Heads(query, _step_groups(config, query), head_dim_of(config, hidden, query))
    other = config.at("attention_other_setting")
    named = other.positive("num_attention_heads") if other.text("attention_type") == _SLIDING else query
    return full, Heads(config.positive("num_sliding_attention_heads", default=named), full.kv, full.dim)


def _step_groups(config: Config, query: int) -> int:
    groups = config.positive("num_attention_groups")
    if groups < 2 or query % groups:  # noqa: PLR2004
        raise ConfigError(f"`{config.path}num_attention_groups` {groups} must be above 1 and divide {query} heads")
    return groups


def _step_slides(config: Config, count: int) -> tuple[bool, ...]:
    """`layer_types`; entries after the decoder's own are those of drafting layers."""
    kinds = config.items("layer_types")
    if len(kinds) < count:
        raise ConfigError(f"`{config.path}layer_types` has {len(kinds)} entries for {count} layers")
    unknown = {str(kind) for kind in kinds} - {"full_attention", _SLIDING}
    if unknown:
        raise ConfigError(f"`{config.path}layer_types` has the unknown kind {sorted(unknown)[0][:40]}")
    return tuple(kind == _SLIDING for kind in kinds[:count])


def _step_sparse(config: Config, count: int) -> tuple[bool, ...]:
    if "mlp_layer_types" in config:
        values = config.items("mlp_layer_types")[:count]
        return (*is_experts_pattern(values, config, "mlp_layer_types"), *(False,) * (count - len(values)))
    if "moe_layers_enum" not in config:
        return tuple(index > 0 for index in range(count))
    listed = {part.strip() for part in config.text("moe_layers_enum").split(",")}
    if not all(part.isdigit() for part in listed):
        raise ConfigError(f"`{config.path}moe_layers_enum` must be numbers of layers with commas between them")
    return tuple(str(index) in listed for index in range(count))


def _step_attention(config: Config, frame: Frame, heads: Heads) -> tuple[Module, ...]:
    gated = config.flag("use_head_wise_attn_gate")
    return (
        *frame.norms(*LAYER_NORMS),
        *norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *attention(heads, frame.hidden, qkv_bias=config.flag("attention_bias")),
        *((Linear("self_attn.g_proj", heads.query, frame.hidden, Split.OUTPUTS),) if gated else ()),
    )


def _check_step_router(config: Config) -> None:
    """What step3p5.py:FusedMoEBlock asserts."""
    check_scoring(config, "moe_router_activation")
    check_value(config, "use_moe_router_bias", (True,))
    check_value(config, "need_fp32_gate", (True,))
    limits = {str(limit)[:40] for limit in config.items("swiglu_limits") if limit not in (None, 0, 7)}
    if limits:
        raise ConfigError(f"`{config.path}swiglu_limits` must be 7 or none in layers with experts, not {min(limits)}")


def _step_experts(config: Config, frame: Frame) -> tuple[Module, ...]:
    count = config.positive("moe_num_experts")
    _check_step_router(config)
    return (
        router("moe.gate", count, frame.hidden, dtype="F32"),
        score_bias("moe.router_bias", count),
        routed(
            config,
            count,
            config.positive("moe_intermediate_size"),
            "moe.experts",
            top_k="moe_top_k",
            needs_rank_each=True,
        ),
        *gated_mlp(config.positive("share_expert_dim"), frame.hidden, name="moe.share_expert"),
    )
