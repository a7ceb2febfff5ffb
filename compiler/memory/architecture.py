"""What a model is made of, as the arithmetic needs it: modules with weights, and the caches of each layer.

A family's reader (compiler/memory/families) turns a config.json into these types by the rules of vLLM's own model code.
Modules carry whole-model sizes; compiler/memory/weights.py splits them over ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from compiler.memory.packing import Packing


class Split(Enum):
    """Which dimension of a module's weights tensor parallelism divides (vllm/model_executor/layers/linear.py)."""

    REPLICATED = auto()
    OUTPUTS = auto()
    INPUTS = auto()
    KV_HEADS = auto()
    """Outputs, by KV heads: heads are replicated where there are more ranks than heads."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A projection: `outputs` × `inputs` weights.

    Attributes:
        name: as checkpoints call it, below its layer (`self_attn.q_proj`).
        fused: the engine's module that holds it with others (`self_attn.qkv_proj`); None where it stands alone.
        heads: KV heads, for Split.KV_HEADS.
        quantized: False where the engine never quantizes it, such as a router.
        dtype: safetensors dtype of its weights where that is fixed; None: what the model is served in.
        parts: projections that the checkpoint stores as this one tensor, such as gate and up.
        scale_dtype: safetensors dtype of its scales in an FP8 checkpoint, where the model's code decides it.
    """

    name: str
    outputs: int
    inputs: int
    split: Split
    bias: bool = False
    fused: str | None = None
    heads: int = 1
    quantized: bool = True
    dtype: str | None = None
    parts: int = 1
    scale_dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """A parameter that no quantizer touches: norm weights, sinks, biases of a router, convolutions, state parameters.

    Attributes:
        size: elements of all dimensions.
        split: REPLICATED, OUTPUTS or KV_HEADS.
        dtype: where it is fixed; None: what the model is served in.
        stored: False where the engine makes it itself.
    """

    name: str
    size: int
    split: Split = Split.REPLICATED
    dtype: str | None = None
    heads: int = 1
    stored: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """An embedding or an output head over the vocabulary: rows are padded, then divided.

    Attributes:
        bias: of an output head, one for each row.
        quantized: whether a quantizer may store it packed (`lm_head: true`).
    """

    name: str
    rows: int
    columns: int
    bias: bool = False
    quantized: bool = False


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts of a layer, in the engine's fused layout (vllm/model_executor/layers/fused_moe).

    Attributes:
        name: as checkpoints call it (`mlp.experts`).
        count: of experts.
        inputs, intermediate: widths of one expert.
        gated: whether there is a gate projection beside up.
        bias: whether projections have biases.
        top_k: experts that serve one token.
        packing: in an FP8 checkpoint, where the model's code decides it, not the quantization block.
    """

    name: str
    count: int
    inputs: int
    intermediate: int
    top_k: int
    gated: bool = True
    bias: bool = False
    packing: Packing | None = None


Module = Linear | Vector | Table | Experts


@dataclass(frozen=True, slots=True)
class HeadCache:
    """Keys and values for each KV head.

    Attributes:
        head_dim, value_dim: widths of a key and of a value.
        window: tokens that a query sees; None for all.
        chunk: size of the chunks that tokens attend within; None for no chunks.
    """

    kv_heads: int
    head_dim: int
    value_dim: int
    window: int | None = None
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class LatentCache:
    """One latent vector for each token, the same on every rank (MLA).

    Attributes:
        width: kv_lora_rank + qk_rope_head_dim.
        topk: tokens that an indexer picks to be read (DeepSeek sparse attention); None where all are.
    """

    width: int
    topk: int | None = None


@dataclass(frozen=True, slots=True)
class IndexerCache:
    """Keys of a sparse-attention indexer: 8-bit values and their scales (vllm's DeepseekV32IndexerCache).

    Attributes:
        head_dim: of the indexer.
    """

    head_dim: int


@dataclass(frozen=True, slots=True)
class PackedCache:
    """One of the caches that DeepSeek V4 keeps for a layer; pages of several sizes share a block (vllm's BLHNC layout).

    Attributes:
        role: `latent`, `indexer` (8-bit keys and their scales) or `state` (float32, of what is not yet compressed).
        width: elements of one entry.
        ratio: tokens that one entry stands for.
        window: tokens that are kept; None for all.
        block: tokens of a block where it is fixed; None: the backend's.
    """

    role: str
    width: int
    ratio: int = 1
    window: int | None = None
    block: int | None = None


@dataclass(frozen=True, slots=True)
class StatePart:
    """One tensor of a recurrent state: `divided` elements over the ranks, `replicated` on each.

    Attributes:
        dtype: torch's name; None: what the model is served in.
        steps: rows that each rank holds of it beyond one, such as a convolution's taps.
    """

    divided: int
    dtype: str | None = None
    steps: int = 1


@dataclass(frozen=True, slots=True)
class StateCache:
    """The recurrent state of one request in one layer (Mamba, gated delta net, …); it does not grow with length.

    Attributes:
        kind: `mamba1`, `mamba2`, `gdn`, `kda`, `short_conv` or `linear`.
        groups: of a Mamba 2 state; extended where ranks do not divide them.
    """

    kind: str
    parts: tuple[StatePart, ...]


Cache = HeadCache | LatentCache | IndexerCache | PackedCache | StateCache


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the decoder; layers that are alike are equal.

    Attributes:
        caches: that this layer owns: none for one without attention or one that reads another layer's.
    """

    modules: tuple[Module, ...]
    caches: tuple[Cache, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model.

    Attributes:
        name: as in `architectures`.
        layers: of the decoder, in order.
        layer_prefix: path of the layers in checkpoints.
        first, last: modules of the first and the last pipeline stage.
        everywhere: modules of every pipeline stage, such as a vision tower.
        hidden_size, vocab_size: of the language model.
        intermediate_size: the widest dense projection of a layer.
        num_attention_heads, num_kv_heads, head_dim: of its widest attention.
        tie_word_embeddings: the output head is the embedding table.
        max_model_len: longest request in tokens that vLLM accepts for this config.
        checkpoint_dtype: `bfloat16`, `float16` or `float32`, as the config declares it.
        pooling: it gives embeddings or scores, and generates nothing.
    """

    name: str
    layers: tuple[Layer, ...]
    first: tuple[Module, ...]
    last: tuple[Module, ...]
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool
    max_model_len: int
    checkpoint_dtype: str
    everywhere: tuple[Module, ...] = ()
    layer_prefix: str = "model.layers"
    pooling: bool = False

    @property
    def num_layers(self) -> int:
        """Layers of the decoder."""
        return len(self.layers)

    @property
    def sliding_window(self) -> int | None:
        """The window that all layers share; None where one of them has none or they differ."""
        windows = {cache.window for layer in self.layers for cache in layer.caches if isinstance(cache, HeadCache)}
        return windows.pop() if len(windows) == 1 else None


def served_dtype(checkpoint_dtype: str, *, bfloat16_runs: bool) -> str:
    """The dtype that vLLM's `auto` picks, so that it can be emitted (vllm/config/model.py:_resolve_auto_dtype)."""
    preferred = "bfloat16" if bfloat16_runs else "float16"
    if checkpoint_dtype == "float32":
        return preferred
    return checkpoint_dtype if checkpoint_dtype == "float16" else preferred
