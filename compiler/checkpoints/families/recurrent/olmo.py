"""OlmoHybridForCausalLM: gated delta nets and attention whose queries and keys are normalised whole.

vllm/model_executor/models/olmo_hybrid.py and layers/mamba/gdn/olmo_gdn_linear_attn.py of 0.33.0. Its kernel exports no
state from the midst of a prefill.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.parts import attention, embeddings, gated_mlp, head, norms
from compiler.checkpoints.families.recurrent.hybrid import ATTENTION, STATE, kinds_of, model, square_heads, stack
from compiler.checkpoints.families.recurrent.mixers import DeltaNet, Mixer, convolution, taps
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.lengths import rope_parameters
from compiler.checkpoints.state_cache import StateCache, StatePart

_INTERVAL = 4


def olmo_hybrid(name: str, config: Config) -> Architecture:
    """The tables are on every pipeline stage."""
    hidden, vocab = config.positive("hidden_size"), config.positive("vocab_size")
    width, tied = config.positive("intermediate_size"), config.flag("tie_word_embeddings")
    heads, mixer = square_heads(config), _mixer(_net(config, hidden), hidden)
    check_value(config, "linear_use_gate", (True,))
    mlp = gated_mlp(width, hidden)
    attending = (
        *attention(heads, hidden),
        *norms(hidden, "self_attn.q_norm"),
        *norms(heads.kv * heads.dim, "self_attn.k_norm"),
        *norms(hidden, "post_attention_layernorm", "post_feedforward_layernorm"),
    )
    recurrent = (*mixer.modules, *norms(hidden, "input_layernorm", "post_attention_layernorm"))

    def layer(kind: str) -> Layer:
        if kind == STATE:
            return Layer((*recurrent, *mlp), (mixer.cache,))
        return Layer((*attending, *mlp), (heads.cache(),))

    return model(
        name,
        config,
        stack(_kinds(config), layer),
        heads,
        widths=(mixer.width, width),
        everywhere=(embeddings(vocab, hidden), *norms(hidden, "model.norm"), *head(vocab, hidden, tied=tied)),
        tied=tied,
        rotates=_rotates(config),
    )


def _rotates(config: Config) -> bool:
    """Whether there is a base to rotate by (olmo_hybrid.py:OlmoHybridAttention)."""
    return any(rope.data.get("rope_theta") is not None for rope in (config, *rope_parameters(config)))


def _kinds(config: Config) -> tuple[str, ...]:
    known, count = {STATE: STATE, ATTENTION: ATTENTION}, config.layers()
    if "layer_types" in config:
        return kinds_of(config, "layer_types", config.per_layer("layer_types", count), known)
    kinds = [ATTENTION if index % _INTERVAL == _INTERVAL - 1 else STATE for index in range(count)]
    if ATTENTION not in kinds:
        kinds[-1] = ATTENTION
    return kinds_of(config, "num_hidden_layers", tuple(kinds), known)


def _net(config: Config, hidden: int) -> DeltaNet:
    """The `linear_*` keys, with the defaults of transformers' class."""
    heads = config.positive("num_attention_heads")
    keys = config.positive("linear_num_key_heads", default=heads)
    values = config.positive("linear_num_value_heads", default=heads)
    if values % keys:
        raise ConfigError(f"`{config.path}linear_num_value_heads` {values} is not a multiple of {keys} key heads")
    key_dim = config.positive("linear_key_head_dim", default=max(1, int(0.75 * hidden / keys)))
    value_dim = config.positive("linear_value_head_dim", default=2 * key_dim)
    return DeltaNet(keys, values, key_dim, value_dim, taps(config, "linear_conv_kernel_dim", default=4))


def _mixer(net: DeltaNet, hidden: int) -> Mixer:
    into, fused = Split.OUTPUTS, "linear_attn.in_proj_qkvg"
    widths = {"q": net.keys, "k": net.keys, "v": net.values, "g": net.values}
    modules: tuple[Module, ...] = (
        *(Linear(f"linear_attn.{part}_proj", width, hidden, into, fused=fused) for part, width in widths.items()),
        *(Linear(f"linear_attn.{part}_proj", net.value_heads, hidden, into) for part in "ba"),
        *(piece for part in "qkv" for piece in convolution(f"linear_attn.{part}_conv1d", widths[part], net.conv)),
        Vector("linear_attn.dt_bias", net.value_heads, into),
        Vector("linear_attn.A_log", net.value_heads, into),
        Vector("linear_attn.o_norm.weight", net.value_dim),
        Linear("linear_attn.o_proj", hidden, net.values, Split.INPUTS),
    )
    conv = StatePart(net.values, net.conv - 1, 2 * net.keys, net.key_heads)
    parts = (conv, StatePart(net.values * net.key_dim))
    return Mixer(modules, StateCache("gdn_attention", parts), net.keys + net.values)
