"""Decoders of the first years, by names and shapes of their own: GPT-2, GPT-J, OPT, BLOOM, Falcon, ChatGLM.

vllm/model_executor/models/{gpt2,gpt_j,opt,bloom,falcon,chatglm}.py of 0.33.0. All of them build embeddings, last norm
and output head on every pipeline stage.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError, head_dim_of, kv_heads_of
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.decoder import (
    Frame,
    Sizes,
    alike,
    assemble,
    gated,
    layer_norms,
    plain,
    projections,
)
from compiler.checkpoints.families.parts import Heads
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.families.windows import uniform_windows
from compiler.checkpoints.rotary_table import RotaryTable

_OPT_OFFSET = 2  # opt.py:OPTLearnedPositionalEmbedding


def gpt2(name: str, config: Config) -> Architecture:
    """GPT2LMHeadModel: learned positions, biases everywhere."""
    for key in ("add_cross_attention", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"):
        check_value(config, key, (False,))
    hidden, heads = _gpt_heads(config)
    sizes = _gpt_sizes(config, hidden)
    modules = (
        *layer_norms(hidden, "ln_1", "ln_2"),
        *projections(heads, hidden, "attn.c_attn", "attn.c_proj", qkv_bias=True, out_bias=True),
        *plain(sizes.width, hidden, "mlp.c_fc", "mlp.c_proj", bias=True),
    )
    places = Vector("transformer.wpe.weight", config.positive("n_positions", "max_position_embeddings") * hidden)
    frame = _frame("wte", tied=True, first=(places,), rotates=False)
    return assemble(name, config, _alike(config, modules, heads, "n_layer"), heads, sizes, frame=frame)


def gptj(name: str, config: Config) -> Architecture:
    """GPTJForCausalLM: one norm a layer; the output head has a bias."""
    check_value(config, "rotary", (True,))
    check_value(config, "tie_word_embeddings", (False,))
    hidden, heads = _gpt_heads(config)
    if (width := config.positive("rotary_dim", default=64)) % 2 or width > heads.dim:
        raise ConfigError(f"`{config.path}rotary_dim` {width} must be even and at most the head's {heads.dim}")
    sizes = _gpt_sizes(config, hidden)
    qkv = ("attn.q_proj", "attn.k_proj", "attn.v_proj")
    modules = (
        *layer_norms(hidden, "ln_1"),
        *projections(heads, hidden, qkv, "attn.out_proj", qkv_bias=False, out_bias=False),
        *plain(sizes.width, hidden, "mlp.fc_in", "mlp.fc_out", bias=True),
    )
    return assemble(
        name, config, _alike(config, modules, heads, "n_layer"), heads, sizes, frame=_frame("wte", head_bias=True)
    )


def _gpt_heads(config: Config) -> tuple[int, Heads]:
    hidden, query = config.positive("n_embd", "hidden_size"), config.positive("n_head", "num_attention_heads")
    return hidden, Heads(query, query, head_dim_of(config, hidden, query))


def _gpt_sizes(config: Config, hidden: int) -> Sizes:
    check_activation(config, PLAIN, "activation_function")
    return Sizes(hidden, config.positive("n_inner", default=4 * hidden), config.positive("vocab_size"))


def _alike(config: Config, modules: tuple[Module, ...], heads: Heads, *keys: str) -> tuple[Layer, ...]:
    return alike(modules, heads, uniform_windows(config, config.layers(*keys, "num_hidden_layers")))


def _frame(
    table: str,
    *,
    tied: bool = False,
    head_bias: bool = False,
    first: tuple[Module, ...] = (),
    rotates: bool = True,
) -> Frame:
    return Frame(
        table=f"transformer.{table}",
        norm="transformer.ln_f",
        layers="transformer.h",
        norm_bias=True,
        on_every_stage=True,
        tied=tied,
        head_bias=head_bias,
        first=first,
        rotates=rotates,
    )


def opt(name: str, config: Config) -> Architecture:
    """OPTForCausalLM: the embeddings may be narrower than the layers, with a projection on either side."""
    hidden, query = config.positive("hidden_size"), config.positive("num_attention_heads")
    check_activation(config, PLAIN, "activation_function")
    heads, bias = Heads(query, query, hidden // query), config.flag("enable_bias", default=True)
    narrow = config.positive("word_embed_proj_dim", default=hidden)
    sizes = Sizes(hidden, config.positive("ffn_dim"), config.positive("vocab_size"), narrow)
    affine = config.flag("layer_norm_elementwise_affine", default=True)
    qkv = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    modules = (
        *(layer_norms(hidden, "self_attn_layer_norm", "final_layer_norm") if affine else ()),
        *projections(heads, hidden, qkv, "self_attn.out_proj", qkv_bias=bias, out_bias=bias),
        *plain(sizes.width, hidden, "fc1", "fc2", bias=bias),
    )
    rows = config.positive("max_position_embeddings") + _OPT_OFFSET
    first: list[Module] = [Vector("model.decoder.embed_positions.weight", rows * hidden)]
    if narrow != hidden:
        first.append(Linear("model.decoder.project_in", hidden, narrow, Split.REPLICATED))
        first.append(Linear("model.decoder.project_out", narrow, hidden, Split.REPLICATED))
    normed = config.flag("do_layer_norm_before", default=True) and not config.flag("_remove_final_layer_norm")
    frame = Frame(
        table="model.decoder.embed_tokens",
        norm="model.decoder.final_layer_norm" if normed and affine else None,
        layers="model.decoder.layers",
        norm_bias=True,
        on_every_stage=True,
        tied=True,
        first=tuple(first),
        rotates=False,
    )
    return assemble(name, config, _alike(config, modules, heads), heads, sizes, frame=frame)


def bloom(name: str, config: Config) -> Architecture:
    """BloomForCausalLM: a norm behind the embeddings, no positions."""
    hidden, query = config.positive("hidden_size", "n_embed"), config.positive("n_head", "num_attention_heads")
    heads = Heads(query, query, head_dim_of(config, hidden, query))
    sizes = Sizes(hidden, 4 * hidden, config.positive("vocab_size"))
    path = "self_attention"
    modules = (
        *layer_norms(hidden, "input_layernorm", "post_attention_layernorm"),
        *projections(heads, hidden, f"{path}.query_key_value", f"{path}.dense", qkv_bias=True, out_bias=True),
        *plain(sizes.width, hidden, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", bias=True),
    )
    first = layer_norms(hidden, "transformer.word_embeddings_layernorm")
    frame = _frame("word_embeddings", tied=True, first=first, rotates=False)
    return assemble(name, config, _alike(config, modules, heads, "n_layer"), heads, sizes, frame=frame)


def falcon(name: str, config: Config) -> Architecture:
    """FalconForCausalLM of all generations: RefinedWeb, 7B, and the new decoder of 40B and 180B."""
    hidden, query = config.positive("hidden_size", "n_embed"), config.positive("num_attention_heads", "n_head")
    new, bias = config.flag("new_decoder_architecture"), config.flag("bias")
    heads = Heads(query, _falcon_kv_heads(config, query, new=new), head_dim_of(config, hidden, query))
    sizes = Sizes(hidden, 4 * hidden, config.positive("vocab_size"))
    path = "self_attention"
    modules = (
        *layer_norms(hidden, *_falcon_norms(config, new=new)),
        *projections(heads, hidden, f"{path}.query_key_value", f"{path}.dense", qkv_bias=bias, out_bias=bias),
        *plain(sizes.width, hidden, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", bias=bias),
    )
    frame = _frame("word_embeddings", tied=True, rotates=not config.flag("alibi"))
    layers = _alike(config, modules, heads, "num_hidden_layers", "n_layer")
    if not config.flag("alibi"):
        # With rotary positions, falcon.py:FalconAttention gives its attention no cache_config.
        layer = replace(layers[0], caches=(replace(heads.cache(), as_served=True),))
        layers = (layer,) * len(layers)
    return assemble(name, config, layers, heads, sizes, frame=frame)


def _falcon_kv_heads(config: Config, query: int, *, new: bool) -> int:
    if new:
        read = Config({"num_key_value_heads": config.positive("num_kv_heads", "n_head_kv", default=query)}, config.path)
        return kv_heads_of(read, query)
    return 1 if config.flag("multi_query", default=True) else query


def _falcon_norms(config: Config, *, new: bool) -> tuple[str, ...]:
    if not config.flag("parallel_attn", default=True):
        return ("post_attention_layernorm", "input_layernorm")
    two = 2
    norms_in_parallel = config.positive("num_ln_in_parallel_attn", default=two if new else 1)
    return ("ln_attn", "ln_mlp") if norms_in_parallel == two else ("input_layernorm",)


def chatglm(name: str, config: Config) -> Architecture:
    """ChatGLMModel: sizes by GLM's own keys; vLLM has the configuration class, with its defaults."""
    if "tie_word_embeddings" not in config:
        raise ConfigError(f"`{config.path}tie_word_embeddings` is missing, vLLM asks for it")
    if "vision_config" in config.data:
        raise ConfigError(f"`{config.path}vision_config`: vLLM's class for ChatGLM reads text only")
    hidden = config.positive("hidden_size", default=4096)
    query = config.positive("num_attention_heads", default=32)
    kv = config.positive("multi_query_group_num", default=1) if config.flag("multi_query_attention") else query
    heads = Heads(query, kv_heads_of(Config({"num_key_value_heads": kv}, config.path), query), hidden // query)
    width = config.positive("ffn_hidden_size", default=13696)
    sizes = Sizes(hidden, width, config.positive("padded_vocab_size", default=65024))
    bias, bare = config.flag("add_bias_linear"), config.flag("rmsnorm", default=True)
    path = "self_attention"
    modules = (
        *layer_norms(hidden, "input_layernorm", "post_attention_layernorm", bias=not bare),
        *projections(
            heads,
            hidden,
            f"{path}.query_key_value",
            f"{path}.dense",
            qkv_bias=bias or config.flag("add_qkv_bias"),
            out_bias=bias,
        ),
        *gated(width, hidden, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", bias=bias),
    )
    frame = Frame(
        table="transformer.embedding",
        norm="transformer.encoder.final_layernorm" if config.flag("post_layer_norm", default=True) else None,
        head="transformer.output_layer",
        layers="transformer.encoder.layers",
        norm_bias=not bare,
        on_every_stage=True,
        rotates=False,
    )
    architecture = assemble(name, config, _alike(config, modules, heads, "num_layers"), heads, sizes, frame=frame)
    table = RotaryTable(config.positive("seq_length", default=2048), heads.dim // 2)
    return replace(architecture, rotary=(table,))
