"""Mixtures of experts with ordinary attention: Qwen, Mixtral, GLM, MiniMax, Phi, gpt-oss, OLMoE, Granite, Ernie.

vllm/model_executor/models/{qwen2_moe,qwen3_moe,mixtral,glm4_moe,minimax_m2,phimoe,gpt_oss,olmoe,granitemoe,
granitemoeshared,ernie45_moe,deepseek_v2}.py of 0.33.0. Layers for drafting (MTP) that checkpoints hold after the
decoder's own are not loaded.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Layer, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.decoder import alike
from compiler.checkpoints.families.experts.parts import (
    LAYER_NORMS,
    Frame,
    drafting_layers,
    from_first,
    is_sparse_step,
    routed,
    router,
    score_bias,
    shared_window,
    two_kinds,
)
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.terms import check_groups, check_present, check_scoring, check_value
from compiler.checkpoints.families.windows import layer_windows
from compiler.checkpoints.lengths import rope_parameters
from compiler.checkpoints.rope_terms import check_keys, is_default

_THREE = ("w1", "w3", "w2")
# gpt_oss.py:OAIAttention takes YaRN for granted, and each of these keys of a config that names any.
_YARN = ("factor", "beta_fast", "beta_slow")


def qwen3_moe(name: str, config: Config) -> Architecture:
    """Qwen3MoeForCausalLM: normalised heads, and a router that quantizers may reach."""
    frame = _qwen_frame(config)
    bias = config.flag("attention_bias")
    attended = (
        *norms(frame.heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *attention(frame.heads, frame.hidden, qkv_bias=bias),
    )
    return replace(_qwen(name, config, frame, attended, quantized_router=True), needs_experts=True)


def qwen2_moe(name: str, config: Config) -> Architecture:
    """Qwen2MoeForCausalLM: biases of q, k and v, and a shared expert with a gate of its own."""
    frame = _qwen_frame(config)
    return _qwen(name, config, frame, attention(frame.heads, frame.hidden, qkv_bias=True), quantized_router=False)


def _qwen_frame(config: Config) -> Frame:
    dense = config.positive("intermediate_size", default=1)
    shared = config.count("shared_expert_intermediate_size", default=0)
    return Frame.read(config, max(dense, shared), on_all_stages=True, ties=True)


def _qwen(
    name: str, config: Config, frame: Frame, attended: tuple[Module, ...], *, quantized_router: bool
) -> Architecture:
    count, hidden = config.layers(), frame.hidden
    if "layer_types" in config:
        config.per_layer("layer_types", count)
    experts = config.count("num_experts", "num_local_experts")
    cache = frame.heads.cache(_qwen_window(config, count))
    mixed = (*frame.norms(*LAYER_NORMS), *attended)
    dense = (*mixed, *_dense(config, hidden)) if not all(sparse := is_sparse_step(config, count)) or not experts else ()
    routes = (*mixed, *_qwen_experts(config, experts, quantized=quantized_router)) if experts else dense
    return frame.architecture(name, config, two_kinds(sparse, Layer(routes, (cache,)), Layer(dense, (cache,))))


def _qwen_window(config: Config, count: int) -> int | None:
    """`use_sliding_window` switches it on; Qwen2's configs then alternate, which vLLM's class does not follow."""
    alternates = config.text("model_type") == "qwen2_moe" and "layer_types" not in config
    return None if alternates or not config.flag("use_sliding_window") else shared_window(config, count)


def _dense(config: Config, hidden: int, *, bias: bool = False) -> tuple[Module, ...]:
    check_activation(config, SILU)
    return gated_mlp(config.positive("intermediate_size"), hidden, bias=bias)


def _qwen_experts(config: Config, count: int, *, quantized: bool) -> tuple[Module, ...]:
    hidden = config.positive("hidden_size")
    shared = config.count("shared_expert_intermediate_size", default=0)
    gate = (router("mlp.shared_expert_gate", 1, hidden),)
    if shared:
        check_activation(config, SILU)
    return (
        router("mlp.gate", count, hidden, quantized=quantized),
        routed(config, count, config.positive("moe_intermediate_size"), needs_rank_each=True),
        *((*gate, *gated_mlp(shared, hidden, name="mlp.shared_expert")) if shared else ()),
    )


def mixtral(name: str, config: Config) -> Architecture:
    """MixtralForCausalLM: no biases, all layers with experts."""
    frame = Frame.read(config, config.positive("intermediate_size"), on_all_stages=True, ties=True)
    modules = (
        *frame.norms(*LAYER_NORMS),
        *attention(frame.heads, frame.hidden),
        *_block_sparse(config, frame),
    )
    return replace(_alike(name, config, frame, modules), needs_experts=True)


def phimoe(name: str, config: Config) -> Architecture:
    """PhiMoEForCausalLM: layer norms, projections and the output head have biases whatever the config says."""
    check_value(config, "num_experts_per_tok", (2,))
    for rope in rope_parameters(config):
        # transformers' PhimoeConfig.validate_rope.
        check_keys(rope, () if is_default(rope) else ("short_mscale", "long_mscale"))
    frame = Frame.read(config, config.positive("intermediate_size"), biases=True, on_all_stages=True)
    modules = (
        *frame.norms(*LAYER_NORMS),
        *attention(frame.heads, frame.hidden, qkv_bias=True, out_bias=True),
        *_block_sparse(config, frame),
    )
    return _alike(name, config, frame, modules)


def _block_sparse(config: Config, frame: Frame) -> tuple[Module, ...]:
    count = config.positive("num_local_experts")
    return (
        router("block_sparse_moe.gate", count, frame.hidden),
        routed(config, count, frame.width, "block_sparse_moe.experts", projections=_THREE),
    )


def _alike(name: str, config: Config, frame: Frame, modules: tuple[Module, ...]) -> Architecture:
    """Layers that are all alike."""
    count = config.layers()
    layer = Layer(modules, (frame.heads.cache(shared_window(config, count)),))
    return frame.architecture(name, config, (layer,) * count)


def minimax_m2(name: str, config: Config) -> Architecture:
    """MiniMaxM2ForCausalLM: queries and keys are normalised over all heads, and the router is kept in 4 bytes."""
    check_present(config, "scoring_func", "rotary_dim")
    check_scoring(config)
    frame = Frame.read(config, config.positive("intermediate_size"))
    heads, count = frame.heads, config.positive("num_local_experts")
    gate = "block_sparse_moe"
    modules = (
        *frame.norms(*LAYER_NORMS),
        Vector("self_attn.q_norm.weight", heads.query * heads.dim, Split.OUTPUTS),
        Vector("self_attn.k_norm.weight", heads.kv * heads.dim, Split.KV_HEADS, heads=heads.kv),
        *attention(heads, frame.hidden, qkv_bias=config.flag("attention_bias")),
        *((score_bias(f"{gate}.e_score_correction_bias", count),) if config.flag("use_routing_bias") else ()),
        router(f"{gate}.gate", count, frame.hidden, dtype="F32"),
        _minimax_experts(config, count, frame.width),
    )
    return _alike(name, config, frame, modules)


def _minimax_experts(config: Config, count: int, width: int) -> Module:
    """Quantizers' lists find them as `mlp.experts`, which is what the engine's class tells them."""
    name, engine_name = "block_sparse_moe.experts", "mlp.experts"
    return routed(config, count, width, name, needs_rank_each=True, engine_name=engine_name, projections=_THREE)


def glm4_moe(name: str, config: Config) -> Architecture:
    """Glm4MoeForCausalLM: dense layers first, then experts beside shared ones."""
    frame, count = Frame.read(config, config.positive("intermediate_size")), config.layers()
    sparse = from_first(config, count) if "n_routed_experts" in config else (False,) * count
    qk_norm = config.flag("use_qk_norm")
    attended = (
        *frame.norms(*LAYER_NORMS),
        *(norms(frame.heads.dim, "self_attn.q_norm", "self_attn.k_norm") if qk_norm else ()),
        *attention(frame.heads, frame.hidden, qkv_bias=config.flag("attention_bias")),
    )
    cache = frame.heads.cache(shared_window(config, count))
    routes = _with_shared(config, frame, dtype="F32", corrected=True) if any(sparse) else ()
    mixed, dense = Layer((*attended, *routes), (cache,)), Layer((*attended, *_dense(config, frame.hidden)), (cache,))
    architecture = frame.architecture(name, config, two_kinds(sparse, mixed, dense))
    return replace(architecture, drafting=drafting_layers(config, mixed), needs_experts=True)


def _with_shared(config: Config, frame: Frame, *, dtype: str | None = None, corrected: bool) -> tuple[Module, ...]:
    """DeepSeek's block: a router, routed experts, and `n_shared_experts` side by side as one dense MLP."""
    check_activation(config, SILU)
    count, width = config.positive("n_routed_experts"), config.positive("moe_intermediate_size")
    check_groups(config, count)
    shared = config.count("n_shared_experts", default=0)
    return (
        router("mlp.gate", count, frame.hidden, dtype=dtype),
        *((score_bias("mlp.gate.e_score_correction_bias", count),) if corrected else ()),
        routed(config, count, width),
        *(gated_mlp(width * shared, frame.hidden, name="mlp.shared_experts") if shared else ()),
    )


def gpt_oss(name: str, config: Config) -> Architecture:
    """GptOssForCausalLM: biases everywhere, sinks, and a window in every other layer whatever `layer_types` says."""
    frame = Frame.read(config, config.positive("intermediate_size"), on_all_stages=True)
    heads, experts = frame.heads, config.positive("num_local_experts", "num_experts")
    for rope in rope_parameters(config):
        check_keys(rope, _YARN if rope.data else ())
    modules = (
        *frame.norms(*LAYER_NORMS),
        Vector("self_attn.sinks", heads.query, Split.OUTPUTS),
        *attention(heads, frame.hidden, qkv_bias=True, out_bias=True),
        router("mlp.router", experts, frame.hidden, bias=True),
        replace(routed(config, experts, frame.width, bias=True), over_world=True),
    )
    window = config.positive("sliding_window", default=128)
    if "layer_types" in config:
        config.per_layer("layer_types", config.layers())
    even = tuple(index % 2 == 0 for index in range(config.layers()))
    layers = two_kinds(even, Layer(modules, (heads.cache(window),)), Layer(modules, (heads.cache(),)))
    return replace(frame.architecture(name, config, layers), copies_kv_heads=False)


def olmoe(name: str, config: Config) -> Architecture:
    """OlmoeForCausalLM: queries and keys are normalised over all heads, on every rank."""
    frame = Frame.read(config, config.positive("intermediate_size"), on_all_stages=True)
    heads, experts = frame.heads, config.positive("num_experts")
    modules = (
        *frame.norms(*LAYER_NORMS),
        *norms(heads.query * heads.dim, "self_attn.q_norm"),
        *norms(heads.kv * heads.dim, "self_attn.k_norm"),
        *attention(heads, frame.hidden),
        router("mlp.gate", experts, frame.hidden),
        routed(config, experts, frame.width),
    )
    return _alike(name, config, frame, modules)


def granite_moe(name: str, config: Config) -> Architecture:
    """GraniteMoeForCausalLM, and GraniteMoeSharedForCausalLM with a shared expert beside the routed ones."""
    if "layer_types" in config or config.data.get("sliding_window"):
        raise ConfigError(f"`{config.path}sliding_window` of a Granite with experts is not something stackc knows")
    frame = _granite_frame(config)
    return _alike(name, config, frame, _granite_modules(config, frame))


def granite_moe_swa(name: str, config: Config) -> Architecture:
    """GraniteMoeSWAForCausalLM: windows by `layer_types`, and a sink for each head."""
    frame, count = _granite_frame(config), config.layers()
    config.per_layer("layer_types", count)
    sinks = config.flag("attention_sinks", default=True)
    modules = (
        *((Vector("self_attn.sinks", frame.heads.query, Split.OUTPUTS),) if sinks else ()),
        *_granite_modules(config, frame),
    )
    layers = alike(modules, frame.heads, layer_windows(config, count))
    return frame.architecture(name, config, layers)


def _granite_frame(config: Config) -> Frame:
    return Frame.read(config, config.positive("intermediate_size"), on_all_stages=True, ties=True)


def _granite_modules(config: Config, frame: Frame) -> tuple[Module, ...]:
    shared, experts = config.count("shared_intermediate_size", default=0), config.positive("num_local_experts")
    if shared:
        check_activation(config, SILU)
    return (
        *frame.norms(*LAYER_NORMS),
        *attention(frame.heads, frame.hidden),
        router("block_sparse_moe.router.layer", experts, frame.hidden),
        routed(config, experts, frame.width, "block_sparse_moe.experts", projections=_THREE),
        *(gated_mlp(shared, frame.hidden, name="shared_mlp") if shared else ()),
    )


def ernie45_moe(name: str, config: Config) -> Architecture:
    """Ernie4_5_MoeForCausalLM: experts in an interval of layers; the router is kept in 4 bytes.

    Stages without an output head fail to tie it to their embeddings.
    """
    frame, count = Frame.read(config, config.positive("intermediate_size"), ties=True), config.layers()
    frame = replace(frame, tied=True)
    bias = config.flag("use_bias")
    sparse = _ernie_layers(config, count)
    attended = (*frame.norms(*LAYER_NORMS), *attention(frame.heads, frame.hidden, qkv_bias=bias))
    cache = frame.heads.cache(shared_window(config, count))
    routes, mlp = _ernie_experts(config, frame) if any(sparse) else (), _dense(config, frame.hidden, bias=bias)
    mixed, dense = Layer((*attended, *routes), (cache,)), Layer((*attended, *mlp), (cache,))
    architecture = frame.architecture(name, config, two_kinds(sparse, mixed, dense))
    return replace(architecture, pipelined=not architecture.tie_word_embeddings)


def _ernie_layers(config: Config, count: int) -> tuple[bool, ...]:
    experts = config.count("moe_num_experts", default=0)
    used = config.flag("use_moe", default=experts > 0)
    first = config.count("moe_layer_start_index", default=0)
    last, step = config.data.get("moe_layer_end_index"), config.positive("moe_layer_interval", default=1)
    if last is not None and (not isinstance(last, int) or isinstance(last, bool)):
        raise ConfigError(f"`{config.path}moe_layer_end_index` must be a whole number, not {str(last)[:40]}")
    # transformers' own default, -1, is the last layer.
    final = count - 1 if last in (None, -1) else last
    return tuple(used and (index + 1) % step == 0 and first <= index <= final for index in range(count))


def _ernie_experts(config: Config, frame: Frame) -> tuple[Module, ...]:
    count, width = config.positive("moe_num_experts"), config.positive("moe_intermediate_size")
    shared = config.count("moe_num_shared_experts", default=0)
    if shared:
        check_activation(config, SILU)
    return (
        router("mlp.gate", count, frame.hidden, dtype="F32"),
        score_bias("mlp.moe_statics.e_score_correction_bias", count),
        routed(config, count, width, top_k="moe_k", needs_rank_each=True),
        *(gated_mlp(width * shared, frame.hidden, name="mlp.shared_experts") if shared else ()),
    )


def heads_of(config: Config, query: str, kv: str, dim: str, value_dim: str) -> Heads:
    """Heads under keys of other names."""
    heads, kv_heads, width = config.positive(query), config.positive(kv), config.positive(dim)
    if heads % kv_heads:
        raise ConfigError(f"`{config.path}{query}` {heads} is not a multiple of {kv} {kv_heads}")
    return Heads(heads, kv_heads, width, config.positive(value_dim, default=width))
