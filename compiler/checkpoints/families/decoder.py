"""What decoders have around their layers, and how layers are put together from modules and caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.parts import Heads, dtype_of, norms
from compiler.checkpoints.families.rotary import rotary_tables
from compiler.checkpoints.lengths import max_model_len


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything of a decoder but its layers.

    Attributes:
        table, norm, head: names in checkpoints of the embeddings, the last norm and the output head.
        layers: path of the layers.
        norm_bias: whether the last norm has a bias.
        head_bias: whether the output head has one.
        on_every_stage: the model's class builds these on each pipeline stage, used there or not.
        tied: what transformers takes `tie_word_embeddings` for where the config does not say.
        always_tied: there is no output head whatever the config says.
        first: modules beside the embeddings, such as a table of positions.
        rotates: whether the engine keeps tables of rotary positions.
    """

    table: str = "model.embed_tokens"
    norm: str | None = "model.norm"
    head: str = "lm_head"
    layers: str = "model.layers"
    norm_bias: bool = False
    head_bias: bool = False
    on_every_stage: bool = False
    tied: bool = False
    always_tied: bool = False
    first: tuple[Module, ...] = ()
    rotates: bool = True


LLAMA_FRAME = Frame()
_WITHOUT_FLOAT16 = {"gemma2", "gemma3", "gemma3_text", "glm4"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of a decoder as a whole; `table_width` is that of the embeddings where it is not `hidden`."""

    hidden: int
    width: int
    vocab: int
    table_width: int | None = None

    @classmethod
    def read(cls, config: Config) -> Sizes:
        """By the keys that most configs use."""
        return cls(config.positive("hidden_size"), config.positive("intermediate_size"), config.positive("vocab_size"))


def assemble(
    name: str, config: Config, layers: tuple[Layer, ...], heads: Heads, sizes: Sizes, *, frame: Frame = LLAMA_FRAME
) -> Architecture:
    """A decoder of these layers."""
    tied = frame.always_tied or config.flag("tie_word_embeddings", default=frame.tied)
    columns = sizes.table_width or sizes.hidden
    first = (Table(frame.table, sizes.vocab, columns), *frame.first)
    norm = layer_norms(sizes.hidden, frame.norm, bias=frame.norm_bias) if frame.norm else ()
    head = () if tied else (Table(frame.head, sizes.vocab, columns, frame.head_bias, quantized=True),)
    last = (*norm, *head)
    return Architecture(
        name=name,
        layers=layers,
        first=() if frame.on_every_stage else first,
        last=() if frame.on_every_stage else last,
        everywhere=(*first, *last) if frame.on_every_stage else (),
        hidden_size=sizes.hidden,
        intermediate_size=sizes.width,
        num_attention_heads=heads.query,
        num_kv_heads=heads.kv,
        head_dim=heads.dim,
        vocab_size=sizes.vocab,
        tie_word_embeddings=tied,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
        rotary=rotary_tables(name, config, layers, heads.dim) if frame.rotates else (),
        layer_prefix=frame.layers,
        float16=config.text("model_type") not in _WITHOUT_FLOAT16,
    )


def is_causal(config: Config) -> bool:
    """Llama's, Qwen's and Gemma 3's classes keep no KV cache where `is_causal` is false: attention is an encoder's."""
    return config.flag("is_causal", default=True)


def alike(
    modules: tuple[Module, ...], heads: Heads, windows: Sequence[int | None], *, cached: bool = True
) -> tuple[Layer, ...]:
    """Layers that differ in their windows only."""
    kinds = {window: Layer(modules, (heads.cache(window),) if cached else ()) for window in set(windows)}
    return tuple(kinds[window] for window in windows)


def layer_norms(size: int, *names: str, bias: bool = True) -> tuple[Module, ...]:
    """Norms of one size with a weight, and a bias as `LayerNorm` has it."""
    biases = tuple(Vector(f"{name}.bias", size) for name in names) if bias else ()
    return (*norms(size, *names), *biases)


def projections(
    heads: Heads, hidden: int, qkv: tuple[str, str, str] | str, out: str, *, qkv_bias: bool, out_bias: bool
) -> tuple[Module, ...]:
    """Attention by other names: `qkv` is one name where the checkpoint stores query, key and value as one tensor."""
    query, key, value = (qkv, qkv, qkv) if isinstance(qkv, str) else qkv
    fused = qkv if isinstance(qkv, str) else f"{query.rpartition('.')[0]}.qkv_proj"
    keys, values = heads.kv * heads.dim, heads.kv * heads.value_dim
    return (
        Linear(query, heads.query * heads.dim, hidden, Split.OUTPUTS, qkv_bias, fused),
        Linear(key, keys, hidden, Split.KV_HEADS, qkv_bias, fused, heads.kv),
        Linear(value, values, hidden, Split.KV_HEADS, qkv_bias, fused, heads.kv),
        Linear(out, hidden, heads.query * heads.value_dim, Split.INPUTS, out_bias),
    )


def gated(width: int, hidden: int, ups: tuple[str, str] | str, down: str, *, bias: bool = False) -> tuple[Module, ...]:
    """Gate, up and down by other names: `ups` is one name where the checkpoint stores gate and up as one tensor."""
    gate, up = (ups, ups) if isinstance(ups, str) else ups
    fused = ups if isinstance(ups, str) else f"{gate.rpartition('.')[0]}.gate_up_proj"
    return (
        Linear(gate, width, hidden, Split.OUTPUTS, bias, fused),
        Linear(up, width, hidden, Split.OUTPUTS, bias, fused),
        Linear(down, hidden, width, Split.INPUTS, bias),
    )


def plain(width: int, hidden: int, up: str, down: str, *, bias: bool = False) -> tuple[Module, ...]:
    """A projection up and one down, without a gate."""
    return (Linear(up, width, hidden, Split.OUTPUTS, bias), Linear(down, hidden, width, Split.INPUTS, bias))
