"""Dense decoders with grouped-query attention: Llama and its relatives.

vllm/model_executor/models/{llama,mistral,qwen2,qwen3}.py of 0.33.0.
"""

from __future__ import annotations

from compiler.memory.architecture import Architecture, Layer
from compiler.memory.config import Config
from compiler.memory.families.parts import (
    Heads,
    attention,
    dtype_of,
    embeddings,
    gated_mlp,
    head,
    layer_windows,
    norms,
)
from compiler.memory.lengths import max_model_len


def llama(name: str, config: Config) -> Architecture:
    """LlamaForCausalLM: `attention_bias` of the config decides about biases."""
    bias = config.flag("attention_bias")
    return _decoder(name, config, qkv_bias=bias, out_bias=bias)


def mistral(name: str, config: Config) -> Architecture:
    """MistralForCausalLM: no biases."""
    return _decoder(name, config, qkv_bias=False, out_bias=False)


def qwen2(name: str, config: Config) -> Architecture:
    """Qwen2ForCausalLM: q, k and v always have biases, the output has none."""
    return _decoder(name, config, qkv_bias=True, out_bias=False)


def qwen3(name: str, config: Config) -> Architecture:
    """Qwen3ForCausalLM: each head's q and k are normalised by a learned vector."""
    bias = config.flag("attention_bias")
    return _decoder(name, config, qkv_bias=bias, out_bias=bias, qk_norm=True)


def _decoder(name: str, config: Config, *, qkv_bias: bool, out_bias: bool, qk_norm: bool = False) -> Architecture:
    heads, hidden = Heads.read(config), config.positive("hidden_size")
    width, vocab = config.positive("intermediate_size"), config.positive("vocab_size")
    tied, count = config.flag("tie_word_embeddings"), config.layers()
    modules = (
        *norms(hidden, "input_layernorm", "post_attention_layernorm"),
        *(norms(heads.dim, "self_attn.q_norm", "self_attn.k_norm") if qk_norm else ()),
        *attention(heads, hidden, qkv_bias=qkv_bias, out_bias=out_bias),
        *gated_mlp(width, hidden, bias=config.flag("mlp_bias")),
    )
    return Architecture(
        name=name,
        layers=tuple(Layer(modules, (heads.cache(window),)) for window in qwen_windows(config, count)),
        first=(embeddings(vocab, hidden),),
        last=(*norms(hidden, "model.norm"), *head(vocab, hidden, tied=tied)),
        hidden_size=hidden,
        intermediate_size=width,
        num_attention_heads=heads.query,
        num_kv_heads=heads.kv,
        head_dim=heads.dim,
        vocab_size=vocab,
        tie_word_embeddings=tied,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
    )


def qwen_windows(config: Config, count: int) -> tuple[int | None, ...]:
    """Windows of the layers; Qwen's configs switch theirs on by `use_sliding_window`, from `max_window_layers` on.

    transformers' Qwen2Config turns both into `layer_types` when it reads the file.
    """
    if not config.text("model_type").startswith("qwen") or "layer_types" in config:
        return layer_windows(config, count)
    if not config.flag("use_sliding_window") or not config.data.get("sliding_window"):
        return (None,) * count
    full = config.count("max_window_layers", default=28)
    return tuple(None if index < full else config.positive("sliding_window") for index in range(count))
