"""Decoders that vLLM runs through transformers' own model code: the same tensors, fused and divided as natively.

vllm/model_executor/models/transformers of 0.33.0 replaces projections by vLLM's, by the model's own plan for tensor
parallelism; norms stay whole.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, head_dim_of
from compiler.checkpoints.families.decoder import Frame, Sizes, alike, assemble, layer_norms, plain, projections
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.windows import FULL, SLIDING, layer_windows, window_size

_NORMS = ("input_layernorm", "post_attention_layernorm")
_HALF = 2


def starcoder2(name: str, config: Config) -> Architecture:
    """Starcoder2ForCausalLM: biases and norms with biases, no gate."""
    heads, sizes = Heads.read(config), Sizes.read(config)
    bias = config.flag("use_bias", default=True)
    modules = (
        *layer_norms(sizes.hidden, *_NORMS),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *plain(sizes.width, sizes.hidden, "mlp.c_fc", "mlp.c_proj", bias=bias),
    )
    return _assemble(name, config, modules, heads, sizes, frame=Frame(norm_bias=True, tied=True))


def _assemble(
    name: str, config: Config, modules: tuple[Module, ...], heads: Heads, sizes: Sizes, *, frame: Frame
) -> Architecture:
    return assemble(name, config, _layers(config, modules, heads), heads, sizes, frame=_tableless(frame))


# Transformers' own modules work out cosines and sines in every run, and keep no table.
def _tableless(frame: Frame) -> Frame:
    return replace(frame, rotates=False)


def _layers(config: Config, modules: tuple[Module, ...], heads: Heads, *keys: str) -> tuple[Layer, ...]:
    return alike(modules, heads, layer_windows(config, config.layers(*keys)))


def olmo(name: str, config: Config) -> Architecture:
    """OlmoForCausalLM: norms without weights."""
    heads, sizes, bias = Heads.read(config), Sizes.read(config), config.flag("attention_bias")
    modules = (
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    return _assemble(name, config, modules, heads, sizes, frame=Frame(norm=None))


def olmo2(name: str, config: Config) -> Architecture:
    """Olmo2ForCausalLM and Olmo3's: norms behind attention and MLP, and over all of q and k."""
    heads, sizes, bias = Heads.read(config), Sizes.read(config), config.flag("attention_bias")
    modules = (
        *norms(sizes.hidden, "post_attention_layernorm", "post_feedforward_layernorm"),
        Vector("self_attn.q_norm.weight", heads.query * heads.dim),
        Vector("self_attn.k_norm.weight", heads.kv * heads.dim),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    return _assemble(name, config, modules, heads, sizes, frame=Frame())


def gpt_neox(name: str, config: Config) -> Architecture:
    """GPTNeoXForCausalLM: q, k and v as one tensor, biases everywhere."""
    hidden, query = config.positive("hidden_size"), config.positive("num_attention_heads")
    heads, sizes = Heads(query, query, head_dim_of(config, hidden, query)), Sizes.read(config)
    bias = config.flag("attention_bias", default=True)
    path = "attention"
    modules = (
        *layer_norms(hidden, *_NORMS),
        *projections(heads, hidden, f"{path}.query_key_value", f"{path}.dense", qkv_bias=bias, out_bias=bias),
        *plain(sizes.width, hidden, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", bias=True),
    )
    frame = Frame(
        table="gpt_neox.embed_in",
        norm="gpt_neox.final_layer_norm",
        head="embed_out",
        layers="gpt_neox.layers",
        norm_bias=True,
    )
    return _assemble(name, config, modules, heads, sizes, frame=frame)


def phi(name: str, config: Config) -> Architecture:
    """PhiForCausalLM (Phi 1, 1.5 and 2): one norm a layer."""
    heads, sizes = Heads.read(config), Sizes.read(config)
    qkv = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    qk_norm = layer_norms(heads.dim, "self_attn.q_layernorm", "self_attn.k_layernorm")
    modules = (
        *layer_norms(sizes.hidden, "input_layernorm"),
        *(qk_norm if config.flag("qk_layernorm") else ()),
        *projections(heads, sizes.hidden, qkv, "self_attn.dense", qkv_bias=True, out_bias=True),
        *plain(sizes.width, sizes.hidden, "mlp.fc1", "mlp.fc2", bias=True),
    )
    return _assemble(name, config, modules, heads, sizes, frame=Frame(norm="model.final_layernorm", norm_bias=True))


def glm(name: str, config: Config) -> Architecture:
    """GlmForCausalLM: biases of q, k and v."""
    return _gated(name, config, qkv_bias=config.flag("attention_bias", default=True), out_bias=False)


def seed_oss(name: str, config: Config) -> Architecture:
    """SeedOssForCausalLM: the output projection has a bias by a key of its own."""
    return _gated(
        name,
        config,
        qkv_bias=config.flag("attention_bias", default=True),
        out_bias=config.flag("attention_out_bias"),
        mlp_bias=config.flag("mlp_bias"),
    )


def gated_decoder(name: str, config: Config) -> Architecture:
    """SmolLM3, CWM and HunYuan: Llama's modules."""
    bias = config.flag("attention_bias")
    kind = config.text("model_type")
    if kind == "smollm3" and "no_rope_layers" in config:
        config.per_layer("no_rope_layers", config.layers())
    qk = ("self_attn.query_layernorm", "self_attn.key_layernorm") if kind == "hunyuan_v1_dense" else ()
    windows = None
    if kind == "smollm3":
        windows = _smollm3_windows(config)
    elif kind == "cwm" and "layer_types" not in config:
        windows = tuple(window_size(config) if index % 4 else None for index in range(config.layers()))
    return _gated(
        name,
        config,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=config.flag("mlp_bias"),
        qk_norms=qk,
        tied=kind == "smollm3",
        windows=windows,
    )


def _smollm3_windows(config: Config) -> tuple[int | None, ...]:
    """Layers without rotary positions have the window, where it is switched on."""
    count = config.layers()
    if "layer_types" in config:
        return layer_windows(config, count)
    if not config.flag("use_sliding_window") or window_size(config) is None:
        return (None,) * count
    period = config.positive("no_rope_layer_interval", default=4)
    roped = [int((index + 1) % period != 0) for index in range(count)]
    if "no_rope_layers" in config:
        roped = list(config.per_layer("no_rope_layers", count))
    kinds = [FULL if rope else SLIDING for rope in roped]
    return layer_windows(Config({**config.data, "layer_types": kinds}, config.path), count)


def _gated(
    name: str,
    config: Config,
    *,
    qkv_bias: bool,
    out_bias: bool,
    mlp_bias: bool = False,
    qk_norms: tuple[str, ...] = (),
    tied: bool = False,
    windows: tuple[int | None, ...] | None = None,
) -> Architecture:
    heads, sizes = Heads.read(config), Sizes.read(config)
    modules = (
        *norms(sizes.hidden, *_NORMS),
        *norms(heads.dim, *qk_norms),
        *attention(heads, sizes.hidden, qkv_bias=qkv_bias, out_bias=out_bias),
        *gated_mlp(sizes.width, sizes.hidden, bias=mlp_bias),
    )
    layers = _layers(config, modules, heads) if windows is None else alike(modules, heads, windows)
    return assemble(name, config, layers, heads, sizes, frame=_tableless(Frame(tied=tied)))


def arcee(name: str, config: Config) -> Architecture:
    """ArceeForCausalLM: Llama without a gate."""
    heads, sizes, bias = Heads.read(config), Sizes.read(config), config.flag("attention_bias")
    modules = (
        *norms(sizes.hidden, *_NORMS),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *plain(sizes.width, sizes.hidden, "mlp.up_proj", "mlp.down_proj", bias=config.flag("mlp_bias")),
    )
    return _assemble(name, config, modules, heads, sizes, frame=Frame())


def jais2(name: str, config: Config) -> Architecture:
    """Jais2ForCausalLM: norms and projections with biases, no gate."""
    heads, sizes, bias = Heads.read(config), Sizes.read(config), config.flag("attention_bias", default=True)
    modules = (
        *layer_norms(sizes.hidden, *_NORMS),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *plain(sizes.width, sizes.hidden, "mlp.up_proj", "mlp.down_proj", bias=config.flag("mlp_bias", default=True)),
    )
    return _assemble(name, config, modules, heads, sizes, frame=Frame(norm_bias=True))


def vault_gemma(name: str, config: Config) -> Architecture:
    """VaultGemmaForCausalLM: Gemma 2 without the norms behind."""
    heads, sizes = Heads.read(config), Sizes.read(config)
    bias = config.flag("attention_bias")
    modules = (
        *norms(sizes.hidden, "input_layernorm", "pre_feedforward_layernorm"),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    return _assemble(name, config, modules, heads, sizes, frame=Frame(tied=True))


def gpt_bigcode(name: str, config: Config) -> Architecture:
    """GPTBigCodeForCausalLM (SantaCoder, StarCoder): GPT-2 with one head of keys and values."""
    hidden, query = config.positive("n_embd", "hidden_size"), config.positive("n_head", "num_attention_heads")
    heads = Heads(query, 1 if config.flag("multi_query", default=True) else query, head_dim_of(config, hidden, query))
    sizes = Sizes(hidden, config.positive("n_inner", default=4 * hidden), config.positive("vocab_size"))
    modules = (
        *layer_norms(hidden, "ln_1", "ln_2"),
        *projections(heads, hidden, "attn.c_attn", "attn.c_proj", qkv_bias=True, out_bias=True),
        # No plan of transformers divides these.
        Linear("mlp.c_fc", sizes.width, hidden, Split.REPLICATED, bias=True),
        Linear("mlp.c_proj", hidden, sizes.width, Split.REPLICATED, bias=True),
    )
    positions = Vector("transformer.wpe.weight", config.positive("n_positions", default=1024) * hidden)
    frame = Frame(
        table="transformer.wte",
        norm="transformer.ln_f",
        layers="transformer.h",
        norm_bias=True,
        tied=True,
        first=(positions,),
    )
    layers = _layers(config, modules, heads, "n_layer", "num_hidden_layers")
    return assemble(name, config, layers, heads, sizes, frame=frame)
