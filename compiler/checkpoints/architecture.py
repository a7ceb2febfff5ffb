"""What a model is made of, as the arithmetic needs it: modules with weights, and the caches of each layer.

A family's reader (compiler/checkpoints/families) turns a config.json into these types by the rules of vLLM's own model
code. Modules carry whole-model sizes; compiler/checkpoints/parameters/weights.py splits them over ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

from compiler.checkpoints.pooled_cache import PooledKeyCache, RingCache
from compiler.checkpoints.rotary_table import RotaryTable
from compiler.checkpoints.state_cache import StateCache


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
        alignment: rows on one rank are padded to a multiple of it.
        whole_unless: every rank holds all of it where the ranks do not divide this number, such as a tower's heads.
        groups: of outputs, of which each rank holds whole ones; None where it has none.
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
    alignment: int = 1
    whole_unless: int | None = None
    groups: int | None = None


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
        needs_rank_each: whether the engine refuses more tensor-parallel ranks than experts.
        engine_name: as the engine calls it, where that differs.
        projections: names of one expert's gate, up and down projections in checkpoints.
        least_width: on one of several ranks; narrower slices are padded to it.
        over_world: whether the width must divide by the ranks of all stages together (gpt_oss.py:MLPBlock).
    """

    name: str
    count: int
    inputs: int
    intermediate: int
    top_k: int
    gated: bool = True
    bias: bool = False
    needs_rank_each: bool = False
    engine_name: str | None = None
    projections: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    least_width: int = 1
    over_world: bool = False


Module = Linear | Vector | Table | Experts


@dataclass(frozen=True, slots=True)
class HeadCache:
    """Keys and values for each KV head.

    Attributes:
        head_dim, value_dim: widths of a key and of a value.
        window: tokens that a query sees; None for all.
        chunk: size of the chunks that tokens attend within; None for no chunks.
        scaled: False where the engine does not tell this attention of a quantizer, which then adds no scales to it.
        as_served: the engine does not tell this attention of the cache's dtype: it keeps what the model is served in.
        borrowed: these keys and values are an earlier layer's, and take no memory here.
    """

    kv_heads: int
    head_dim: int
    value_dim: int
    window: int | None = None
    chunk: int | None = None
    scaled: bool = True
    as_served: bool = False
    borrowed: bool = False


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
class KeyCache:
    """16-bit keys of an indexer that picks blocks of tokens, the same on every rank (vllm's MiniMaxM3IndexerCache).

    Attributes:
        width: of a key.
        heads: of the queries that are compared with it; each rank has its part, one at least.
        topk: blocks that are picked.
    """

    width: int
    heads: int
    topk: int


@dataclass(frozen=True, slots=True)
class PackedCache:
    """One of the caches that DeepSeek V4 keeps for a layer; pages of several sizes share a block (vllm's BLHNC layout).

    Attributes:
        role: `latent`, `indexer` (8-bit keys and their scales) or `state` (float32, of what is not yet compressed).
        width: elements of one entry.
        ratio: tokens that one entry stands for.
        window: tokens that are kept; None for all.
        block: tokens of a block where it is fixed; None: the backend's.
        heads, topk: of an indexer: its queries, the same on every rank, and entries that it picks by its keys here.
    """

    role: str
    width: int
    ratio: int = 1
    window: int | None = None
    block: int | None = None
    heads: int = 0
    topk: int | None = None


Cache = HeadCache | LatentCache | IndexerCache | KeyCache | PackedCache | RingCache | PooledKeyCache | StateCache


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the decoder; layers that are alike are equal.

    Attributes:
        caches: none for a layer without attention.
    """

    modules: tuple[Module, ...]
    caches: tuple[Cache, ...]


@dataclass(frozen=True, slots=True)
class ItemSize:
    """What the largest image, video or sound of a prompt takes, by which the engine sizes its profile run.

    Attributes:
        tokens: of one image: least and most, where preprocessor_config.json decides, which configs do not hold.
        patches: rows of the tower's hidden states for each token.
        source: of the tokens.
        groups: times that a video may hold an image's tokens, as far as max_model_len allows.
        counted: tokens of max_model_len that each group is counted for; 0: as many as it has.
    """

    tokens: tuple[int, int]
    patches: int
    source: str
    groups: int = 1
    counted: int = 0


@dataclass(frozen=True, slots=True)
class Encoder:
    """A tower that turns images or sound into embeddings, with its projector; it runs on the first pipeline stage only.

    See vllm/model_executor/models/interfaces.py:_mark_tower_model of 0.33.0.

    Attributes:
        modalities: what it reads: `image`, `video`, `audio`.
        heads: attention heads, which the ranks must divide; None where it may stay whole.
        hidden_size, intermediate_size: of its widest layer.
        output_size: width of an embedding, of every level that it gives.
        split: whether its activations are divided by ranks too; False where each rank runs the whole tower.
        item: the largest item of a prompt.
        batch_elements: that a buffer of the served dtype keeps for each token of a batch, from the start on.
        most_items: of one kind in a prompt; 0: none, and the engine builds no tower.
        stays: the engine builds it all the same.
        pixels: of one patch, in all channels and frames, which are held while the tower runs; 0 where not known.
        rotates: whether queries and keys are joined and rotated, beside which they stay as they were.
    """

    modules: tuple[Module, ...]
    modalities: tuple[str, ...]
    heads: int | None
    hidden_size: int
    intermediate_size: int
    output_size: int
    item: ItemSize
    split: bool = True
    batch_elements: int = 0
    most_items: int = 999
    stays: bool = False
    pixels: int = 0
    rotates: bool = False


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model.

    Attributes:
        name: as in `architectures`.
        layers: of the decoder, in order.
        layer_prefix: path of the layers in checkpoints.
        first, last: modules of the first and the last pipeline stage.
        everywhere: modules of every pipeline stage.
        encoders: towers for images and sound.
        renames: prefixes of a checkpoint's names and what the engine calls them. It rewrites the module names in a
            quantizer's lists so, one pair after the other, and `layer_prefix` and all names here are the engine's.
        drafting: layers for speculative decoding (MTP) that checkpoints may hold after the decoder's own; not served.
        drafting_prefixes: starts of names of such layers where they stand by themselves (`mtp.`).
        hidden_size, vocab_size: of the language model.
        streams: hidden states that run side by side from layer to layer (DeepSeek V4's hyper-connections).
        gated_streams: each block gets a gated mean of them, which every rank works out whole (Qwen4-Exp).
        intermediate_size: the widest dense projection of a layer.
        num_attention_heads, num_kv_heads, head_dim: of its widest attention.
        tie_word_embeddings: the output head is the embedding table.
        presumes_tie: it is so only by the default of a composed config's class, where the language model's own class
            has none: checkpoints of such hold an output head, and the engine keeps what differs from the embeddings.
        max_model_len: longest request in tokens that vLLM accepts for this config.
        checkpoint_dtype: `bfloat16`, `float16` or `float32`, as the config declares it.
        rotary: tables of rotary positions, each once.
        pooling: it gives embeddings or scores, and generates nothing.
        pipelined: whether vLLM splits it over pipeline stages at all (vllm/model_executor/models/interfaces.py:
            SupportsPP).
        copies_kv_heads: whether the engine runs it on more ranks than it has KV heads.
        first_stage: layers that the first pipeline stage must hold at least.
        needs_experts: its class refuses to build a pipeline stage, or a whole model, without a layer of routed experts.
        float16: whether vLLM serves it in float16 (vllm/config/model.py:_FLOAT16_NOT_SUPPORTED_MODELS).
        whole_items: the tokens of an image or a video attend to each other (compiler/checkpoints/whole_items.py).
        assumed: nothing is known of its layers, and they are counted by an upper bound, on one GPU only.
        kinds: one layer of each kind: those that are alike share one object.
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
    rotary: tuple[RotaryTable, ...]
    everywhere: tuple[Module, ...] = ()
    encoders: tuple[Encoder, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    layer_prefix: str = "model.layers"
    streams: int = 1
    gated_streams: bool = False
    presumes_tie: bool = False
    drafting: tuple[Layer, ...] = ()
    drafting_prefixes: tuple[str, ...] = ()
    pooling: bool = False
    pipelined: bool = True
    copies_kv_heads: bool = True
    first_stage: int = 0
    needs_experts: bool = False
    float16: bool = True
    whole_items: bool = False
    assumed: bool = False
    kinds: tuple[Layer, ...] = field(init=False, repr=False, compare=False)
    _hash: int | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Kinds of layers are told apart by identity, which costs less than comparing."""
        object.__setattr__(self, "kinds", tuple({id(layer): layer for layer in self.layers}.values()))

    def __hash__(self) -> int:
        """What is worked out for an architecture is kept by it: cheap, and seldom the same for two that differ.

        Variants differ in what is quantized, and are long to compare layer by layer.
        """
        if self._hash is None:
            parts: tuple[Layer | Encoder, ...] = (*self.kinds, *self.encoders)
            quantized = tuple(sum(getattr(module, "quantized", False) for module in part.modules) for part in parts)
            built = tuple((each.most_items, each.stays) for each in self.encoders)
            sizes = (len(self.layers), self.hidden_size, self.vocab_size, self.max_model_len, self.pooling)
            object.__setattr__(self, "_hash", hash((self.name, sizes, quantized, built)))
        return cast("int", self._hash)

    @property
    def num_layers(self) -> int:
        """Layers of the decoder."""
        return len(self.layers)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What a prompt may hold besides text."""
        return tuple(dict.fromkeys(kind for encoder in self.encoders for kind in encoder.modalities))

    @property
    def towers(self) -> tuple[Encoder, ...]:
        """Those of `encoders` that the engine builds, where others are in the checkpoint alone."""
        return tuple(encoder for encoder in self.encoders if encoder.most_items or encoder.stays)

    @property
    def sliding_window(self) -> int | None:
        """The window that all layers share; None where one of them has none or they differ."""
        windows = {cache.window for layer in self.kinds for cache in layer.caches if isinstance(cache, HeadCache)}
        return windows.pop() if len(windows) == 1 else None


def served_dtype(checkpoint_dtype: str, *, bfloat16_runs: bool, pooling: bool = False, float16: bool = True) -> str:
    """The dtype that vLLM's `auto` picks, so that it can be emitted (vllm/config/model.py:_resolve_auto_dtype)."""
    supported = [*(["bfloat16"] if bfloat16_runs else []), *(["float16"] if float16 else []), "float32"]
    preferred = "float16" if pooling and float16 else supported[0]
    wanted = preferred if checkpoint_dtype == "float32" else checkpoint_dtype
    return wanted if wanted in supported else preferred
