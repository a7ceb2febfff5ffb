"""Dense decoders with grouped-query attention: Llama and its relatives.

vllm/model_executor/models/{llama,mistral,qwen2,qwen3,phi3,mimo,granite,nemotron,exaone,exaone4,glm4,...}.py of 0.33.0.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import PLAIN, SILU, check_activation
from compiler.checkpoints.families.decoder import (
    LLAMA_FRAME,
    Frame,
    Sizes,
    alike,
    assemble,
    gated,
    is_causal,
    layer_norms,
    plain,
    projections,
)
from compiler.checkpoints.families.parts import Heads, attention, gated_mlp, norms
from compiler.checkpoints.families.terms import check_present, check_value
from compiler.checkpoints.families.windows import layer_windows, uniform_windows
from compiler.checkpoints.lengths import rope_parameters
from compiler.checkpoints.rope_terms import check_keys, check_sections, check_type, type_of

_LLAMA_NORMS = ("input_layernorm", "post_attention_layernorm")


def biases(config: Config) -> tuple[bool, bool]:
    """Of query, key and value, and of the output: `qkv_bias` where it is set tells them apart (llama.py)."""
    bias = config.flag("attention_bias") or config.flag("bias")
    return config.flag("qkv_bias", default=bias), bias


def llama(name: str, config: Config) -> Architecture:
    """LlamaForCausalLM and what the registry maps to it; Mistral's class is the same but for other attention scales."""
    if config.flag("ada_rms_norm_t_cond"):
        raise ConfigError(f"`{config.path}ada_rms_norm_t_cond` is for speech models, which are not accounted for")
    return _llama(name, config, stored_fused=False)


def ernie(name: str, config: Config) -> Architecture:
    """Ernie4_5ForCausalLM: Llama's class without a bias of the output projection."""
    return _llama(name, config, stored_fused=False, output_biased=False, frame=Frame(tied=True))


def phi3(name: str, config: Config) -> Architecture:
    """Phi3ForCausalLM: Llama's class; the checkpoint stores q, k and v as one tensor, and gate and up."""
    for rope in rope_parameters(config) if config.text("model_type") == "phi3" else ():
        # transformers' Phi3Config.validate_rope; for the older name it wants the original length beside it.
        check_type(rope, ("default", "longrope", "su"))
        check_keys(rope, ("original_max_position_embeddings",) if type_of(rope) == "su" else ())
    return _llama(name, config, stored_fused=True)


def _llama(
    name: str, config: Config, *, stored_fused: bool, output_biased: bool = True, frame: Frame = LLAMA_FRAME
) -> Architecture:
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    qkv_bias, out_bias = biases(config)
    out_bias, bias = out_bias and output_biased, config.flag("mlp_bias")
    own: tuple[Module, ...]
    if stored_fused:
        own = (
            *projections(
                heads, sizes.hidden, "self_attn.qkv_proj", "self_attn.o_proj", qkv_bias=qkv_bias, out_bias=out_bias
            ),
            *gated(sizes.width, sizes.hidden, "mlp.gate_up_proj", "mlp.down_proj", bias=bias),
        )
    else:
        own = (
            *attention(heads, sizes.hidden, qkv_bias=qkv_bias, out_bias=out_bias),
            *gated_mlp(sizes.width, sizes.hidden, bias=bias),
        )
    modules = (*norms(sizes.hidden, *_LLAMA_NORMS), *own)
    layers = alike(modules, heads, layer_windows(config, count), cached=is_causal(config))
    return assemble(name, config, layers, heads, sizes, frame=frame)


def qwen2(name: str, config: Config) -> Architecture:
    """Qwen2ForCausalLM and MiMo's: q, k and v always have biases, the output has none."""
    return _qwen(name, config, qkv_bias=True, qk_norm=config.flag("qk_norm"))


def qwen3(name: str, config: Config) -> Architecture:
    """Qwen3ForCausalLM: each head's q and k are normalised by a learned vector; the output never has a bias."""
    return _qwen(name, config, qkv_bias=config.flag("attention_bias"), qk_norm=True)


def _qwen(name: str, config: Config, *, qkv_bias: bool, qk_norm: bool) -> Architecture:
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    for rope in rope_parameters(config):
        check_sections(rope, heads.dim)
    windows = layer_windows(config, count)
    if len(set(windows)) > 1:
        # qwen2.py:Qwen2Model asserts it.
        raise ConfigError(f"`{config.path}max_window_layers`: vLLM serves no Qwen with windows in some layers only")
    modules = (
        *norms(sizes.hidden, *_LLAMA_NORMS),
        *(norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm") if qk_norm else ()),
        *attention(heads, sizes.hidden, qkv_bias=qkv_bias),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    return assemble(name, config, alike(modules, heads, windows, cached=is_causal(config)), heads, sizes)


def granite(name: str, config: Config) -> Architecture:
    """GraniteForCausalLM: Llama's modules; with `layer_types`, each head has an attention sink."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    bias = config.flag("attention_bias") or config.flag("bias")
    sinks = config.flag("attention_sinks", default="layer_types" in config)
    modules = (
        *norms(sizes.hidden, *_LLAMA_NORMS),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *((Vector("self_attn.sinks", heads.query, Split.OUTPUTS),) if sinks else ()),
        *gated_mlp(sizes.width, sizes.hidden, bias=config.flag("mlp_bias")),
    )
    layers = alike(modules, heads, layer_windows(config, count))
    # Of transformers' two classes, the one with windows ties the tables of a config that does not say.
    frame = Frame(tied=config.text("model_type") == "granite_swa")
    return assemble(name, config, layers, heads, sizes, frame=frame)


def solar(name: str, config: Config) -> Architecture:
    """SolarForCausalLM: Llama's modules with one bias for all of attention."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    bias = config.flag("attention_bias") or config.flag("bias")
    modules = (
        *norms(sizes.hidden, *_LLAMA_NORMS),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *gated_mlp(sizes.width, sizes.hidden, bias=config.flag("mlp_bias")),
    )
    return assemble(name, config, alike(modules, heads, uniform_windows(config, count)), heads, sizes)


def nemotron(name: str, config: Config) -> Architecture:
    """NemotronForCausalLM: norms with biases, no gate."""
    check_value(config, "model_type", ("nemotron",))
    check_present(config, "num_key_value_heads")
    check_activation(config, PLAIN)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    bias = config.flag("attention_bias") or config.flag("bias")
    modules = (
        *layer_norms(sizes.hidden, *_LLAMA_NORMS),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *plain(sizes.width, sizes.hidden, "mlp.up_proj", "mlp.down_proj", bias=config.flag("mlp_bias")),
    )
    layers = alike(modules, heads, uniform_windows(config, count))
    return assemble(name, config, layers, heads, sizes, frame=Frame(norm_bias=True))


def exaone(name: str, config: Config) -> Architecture:
    """ExaoneForCausalLM: Llama by GPT's names."""
    check_activation(config, SILU, "activation_function")
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers("num_hidden_layers", "num_layers")
    bias = config.flag("attention_bias") or config.flag("bias")
    path = "attn.attention"
    qkv = (f"{path}.q_proj", f"{path}.k_proj", f"{path}.v_proj")
    modules = (
        *norms(sizes.hidden, "ln_1", "ln_2"),
        *projections(heads, sizes.hidden, qkv, f"{path}.out_proj", qkv_bias=bias, out_bias=bias),
        *gated(sizes.width, sizes.hidden, ("mlp.c_fc_0", "mlp.c_fc_1"), "mlp.c_proj", bias=config.flag("mlp_bias")),
    )
    frame = Frame(table="transformer.wte", norm="transformer.ln_f", layers="transformer.h")
    return assemble(name, config, alike(modules, heads, uniform_windows(config, count)), heads, sizes, frame=frame)


def exaone4(name: str, config: Config) -> Architecture:
    """Exaone4ForCausalLM: norms behind attention and MLP, and one for each head's q and k."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    bias = config.flag("attention_bias") or config.flag("bias")
    modules = (
        *norms(sizes.hidden, "post_attention_layernorm", "post_feedforward_layernorm"),
        *norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *gated_mlp(sizes.width, sizes.hidden, bias=config.flag("mlp_bias")),
    )
    return assemble(name, config, alike(modules, heads, layer_windows(config, count)), heads, sizes)


def glm4(name: str, config: Config) -> Architecture:
    """Glm4ForCausalLM: four norms; gate and up are one tensor."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    modules = (
        *norms(sizes.hidden, *_LLAMA_NORMS, "post_self_attn_layernorm", "post_mlp_layernorm"),
        *attention(heads, sizes.hidden, qkv_bias=config.flag("attention_bias", default=True)),
        *gated(sizes.width, sizes.hidden, "mlp.gate_up_proj", "mlp.down_proj"),
    )
    return assemble(name, config, alike(modules, heads, uniform_windows(config, count)), heads, sizes)


def stablelm(name: str, config: Config) -> Architecture:
    """StableLmForCausalLM: norms with biases; everything around the layers is on every pipeline stage."""
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    modules = (
        *layer_norms(sizes.hidden, *_LLAMA_NORMS),
        *attention(heads, sizes.hidden, qkv_bias=config.flag("use_qkv_bias")),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    frame = Frame(norm_bias=True, on_every_stage=True)
    return assemble(name, config, alike(modules, heads, uniform_windows(config, count)), heads, sizes, frame=frame)


def orion(name: str, config: Config) -> Architecture:
    """OrionForCausalLM: norms with biases."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    modules = (
        *layer_norms(sizes.hidden, *_LLAMA_NORMS),
        *attention(heads, sizes.hidden),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    frame = Frame(norm_bias=True, on_every_stage=True)
    return assemble(name, config, alike(modules, heads, uniform_windows(config, count)), heads, sizes, frame=frame)


def minicpm(name: str, config: Config) -> Architecture:
    """MiniCPMForCausalLM without experts."""
    if config.count("num_experts", default=0):
        raise ConfigError(f"`{config.path}num_experts`: MiniCPM with experts is not accounted for")
    check_activation(config, ("silu", "fatrelu"))
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    modules = (
        *norms(sizes.hidden, *_LLAMA_NORMS),
        *attention(heads, sizes.hidden),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    frame = Frame(on_every_stage=True)
    return assemble(name, config, alike(modules, heads, uniform_windows(config, count)), heads, sizes, frame=frame)


def internlm2(name: str, config: Config) -> Architecture:
    """InternLM2ForCausalLM: names of its own, q, k and v stored as one tensor."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    modules = (
        *norms(sizes.hidden, "attention_norm", "ffn_norm"),
        *projections(heads, sizes.hidden, "attention.wqkv", "attention.wo", qkv_bias=False, out_bias=False),
        *gated(sizes.width, sizes.hidden, ("feed_forward.w1", "feed_forward.w3"), "feed_forward.w2"),
    )
    frame = Frame(table="model.tok_embeddings", head="output", on_every_stage=True)
    return assemble(name, config, alike(modules, heads, uniform_windows(config, count)), heads, sizes, frame=frame)


def cohere(name: str, config: Config) -> Architecture:
    """CohereForCausalLM of both generations: one norm a layer, no output head; windows are one token wider."""
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    second = config.text("model_type") == "cohere2"
    windows = layer_windows(config, count, extra=1) if second else uniform_windows(config, count)
    qk_norms = (
        Vector("self_attn.q_norm.weight", heads.query * heads.dim, Split.OUTPUTS),
        Vector("self_attn.k_norm.weight", heads.kv * heads.dim, Split.KV_HEADS, heads=heads.kv),
    )
    modules = (
        *norms(sizes.hidden, "input_layernorm"),
        *(qk_norms if config.flag("use_qk_norm") else ()),
        *attention(heads, sizes.hidden),
        *gated_mlp(sizes.width, sizes.hidden),
    )
    frame = Frame(on_every_stage=True, always_tied=True)
    return assemble(name, config, alike(modules, heads, windows), heads, sizes, frame=frame)


def hyperclovax(name: str, config: Config) -> Architecture:
    """HyperCLOVAXForCausalLM: Llama's modules, and norms behind attention and MLP."""
    check_activation(config, SILU)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    bias = config.flag("attention_bias")
    behind = ("post_norm1", "post_norm2") if config.flag("use_post_norm", default=True) else ()
    modules = (
        *norms(sizes.hidden, *_LLAMA_NORMS, *behind),
        *attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias),
        *gated_mlp(sizes.width, sizes.hidden, bias=config.flag("mlp_bias")),
    )
    return assemble(name, config, alike(modules, heads, uniform_windows(config, count)), heads, sizes)


def apertus(name: str, config: Config) -> Architecture:
    """ApertusForCausalLM: no gate, but an activation with two parameters of its own; normalised heads."""
    check_activation(config, ("xielu",))
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    qkv_bias, out_bias = biases(config)
    modules = (
        *norms(sizes.hidden, "attention_layernorm", "feedforward_layernorm"),
        *norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm"),
        *attention(heads, sizes.hidden, qkv_bias=qkv_bias, out_bias=out_bias),
        *plain(sizes.width, sizes.hidden, "mlp.up_proj", "mlp.down_proj", bias=config.flag("mlp_bias")),
        Vector("mlp.act_fn.alpha_p", 1),
        Vector("mlp.act_fn.alpha_n", 1),
    )
    layers = alike(modules, heads, layer_windows(config, count), cached=is_causal(config))
    return assemble(name, config, layers, heads, sizes)
