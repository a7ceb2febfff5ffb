"""EAGLE-3 heads over Llama's layers, which guess tokens from the hidden states of another model.

vllm/model_executor/models/llama_eagle3.py of 0.33.0: the first layer reads an embedding and a hidden state side by
side, `fc` joins the hidden states of several of the other model's layers, and the output head may be of a part of the
vocabulary, with a table of what each row stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.decoder import Sizes, alike
from compiler.checkpoints.families.parts import Heads, attention, dtype_of, gated_mlp, norms
from compiler.checkpoints.families.rotary import rotary_tables
from compiler.checkpoints.lengths import max_model_len
from compiler.lock.models import TensorKind

NAMES = frozenset({"LlamaForCausalLM", "LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM"})
"""What the config of such a head may call itself; vLLM puts `Eagle3` before the first."""

_NORMS = ("input_layernorm", "hidden_norm", "post_attention_layernorm")
_STATES = 3  # of the other model, unless the config says how many
EMBEDDINGS, HEAD = "model.embed_tokens", "lm_head"


@dataclass(frozen=True, slots=True)
class Eagle3:
    """A head as vLLM builds it.

    Attributes:
        architecture: with embeddings and an output head of its own, as they are loaded.
        states: hidden states of the other model that it reads at once.
        state_size: width of one.
    """

    architecture: Architecture
    states: int
    state_size: int


def read_eagle3(config: Config) -> Eagle3:
    """The head that a config.json describes.

    Raises:
        UnsupportedArchitectureError: it is of another class.
        ConfigError: a key is missing, absurd or contradicts another.
    """
    name = str(next(iter(config.items("architectures")), "no architecture"))
    if name not in NAMES or config.data.get("speculators_config") is not None:
        raise UnsupportedArchitectureError(name)
    check_activation(config, SILU)
    _check_plain(config)
    heads, sizes, count = Heads.read(config), Sizes.read(config), config.layers()
    states, state_size = _states(config), config.positive("target_hidden_size", default=sizes.hidden)
    layers = tuple(_layers(config, heads, sizes, count))
    rows = config.positive("draft_vocab_size", default=sizes.vocab)
    fused = Linear("fc", sizes.hidden, states * state_size, Split.REPLICATED)
    mapped = (Vector("draft_id_to_target_id", rows, dtype="I64"),) if rows != sizes.vocab else ()
    architecture = Architecture(
        name="Eagle3LlamaForCausalLM",
        layers=layers,
        first=(Table(EMBEDDINGS, sizes.vocab, sizes.hidden), fused, *_state_norms(config, states, state_size)),
        last=(*norms(sizes.hidden, "norm"), Table(HEAD, rows, sizes.hidden), *mapped),
        hidden_size=sizes.hidden,
        intermediate_size=sizes.width,
        num_attention_heads=heads.query,
        num_kv_heads=heads.kv,
        head_dim=heads.dim,
        vocab_size=sizes.vocab,
        tie_word_embeddings=False,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
        rotary=rotary_tables("LlamaForCausalLM", config, layers, heads.dim),
        layer_prefix="layers",
    )
    return Eagle3(architecture, states, state_size)


def _check_plain(config: Config) -> None:
    """Windows by layer, and heads that guess all tokens at once, are built otherwise."""
    for key in ("layer_types", "sliding_window", "parallel_drafting", "pard_token", "ptd_token_id"):
        if config.data.get(key) and not (key == "sliding_window" and not config.flag("use_sliding_window")):
            raise ConfigError(f"`{config.path}{key}` of an EAGLE-3 head is not accounted for")


def _states(config: Config) -> int:
    """How many hidden states are joined (llama_eagle3.py:LlamaModel)."""
    inner = config.at("eagle_config")
    if not inner.flag("use_aux_hidden_state", default=True):
        raise ConfigError(f"`{inner.path}use_aux_hidden_state: false` is not accounted for")
    listed = len(inner.items("eagle_aux_hidden_state_layer_ids"))
    return config.positive("num_aux_hidden_states", default=listed or _STATES)


def _layers(config: Config, heads: Heads, sizes: Sizes, count: int) -> Iterator[Layer]:
    """The first layer is given two vectors for each token, the others one."""
    bias = config.flag("attention_bias")
    for index in range(count):
        width = 2 * sizes.hidden if index == 0 else sizes.hidden
        projections = _wider(attention(heads, sizes.hidden, qkv_bias=bias, out_bias=bias), width)
        modules = (*norms(sizes.hidden, *_NORMS), *projections, *gated_mlp(sizes.width, sizes.hidden))
        yield from alike(modules, heads, (None,))


def _wider(modules: tuple[Module, ...], inputs: int) -> Iterator[Module]:
    """Query, key and value with other inputs; the output projection as it is."""
    for module in modules:
        if isinstance(module, Linear) and module.fused is not None:
            yield Linear(module.name, module.outputs, inputs, module.split, module.bias, module.fused, module.heads)
        else:
            yield module


def _state_norms(config: Config, states: int, size: int) -> tuple[Module, ...]:
    """Norms before `fc`: one over all states, or one for each."""
    before = config.at("eagle_config").flag("norm_before_fc", default=config.flag("norm_before_fc"))
    whole = (Vector("input_norm.weight", states * size),) if before else ()
    each = (Vector(f"fc_norm.{index}.weight", size) for index in range(states)) if config.flag("fc_norm") else ()
    return (*whole, *each)


def has_own(tensors: tuple[TensorKind, ...] | None, module: str) -> bool | None:
    """Whether a checkpoint holds embeddings or an output head; None where no header was read."""
    word = module.rpartition(".")[2]
    return None if tensors is None else any(word in kind.name for kind in tensors)


def contradictions(head: Eagle3, tensors: tuple[TensorKind, ...]) -> Iterator[str]:
    """Matrices of the headers whose shapes are not those that config.json implies."""
    architecture = head.architecture
    expected = {
        module.name.rpartition(".")[2]: (module.outputs, module.inputs)
        for part in (architecture.first, *(layer.modules for layer in architecture.layers[:1]))
        for module in part
        if isinstance(module, Linear)
    }
    rows = next(module for module in architecture.last if isinstance(module, Table))
    expected[HEAD] = (rows.rows, rows.columns)
    for kind in tensors:
        parts = kind.name.split(".")
        wanted = expected.get(parts[-2]) if len(parts) > 1 and parts[-1] == "weight" else None
        if wanted is not None and tuple(kind.shape) != wanted and not _is_later(parts, architecture):
            yield f"`{kind.name}` is {list(kind.shape)}, and config.json implies {list(wanted)}"


def _is_later(parts: list[str], architecture: Architecture) -> bool:
    """Whether a tensor may be of a layer after the first, which has other inputs."""
    return len(architecture.layers) > 1 and "layers" in parts
