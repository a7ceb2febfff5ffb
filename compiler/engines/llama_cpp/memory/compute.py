"""The compute buffers of each card and of the host.

A model whose layers, experts and caches are all on cards is laid out node by node: to the byte, where its class was
read and compared with what llama-server b10434 and libllama b11434 planned for public shapes. Anything else is an
interval; its factors are the extremes that they showed on 55 models of 27 architectures and some 20 settings each,
rounded outwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.engines.llama_cpp.memory.blocks import Blocks
from compiler.engines.llama_cpp.memory.cache import Caches
from compiler.engines.llama_cpp.memory.graph import Graph, graph_of
from compiler.engines.llama_cpp.memory.graphs.transformer import Part, transformer_bytes
from compiler.engines.llama_cpp.memory.placement import HOST, Placement
from compiler.engines.llama_cpp.memory.weights import Weights
from compiler.engines.llama_cpp.models.architectures import Graph as Known
from compiler.engines.llama_cpp.models.shape import Shape
from compiler.engines.llama_cpp.releases.rules import ContextMemory, Rules
from compiler.engines.llama_cpp.settings import Contexts, FlashAttention, Settings
from compiler.units import MIB, ByteRange

_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Factors:
    """How far the true buffer may be from what is computed, in hundredths of it."""

    low: int
    high: int

    def around(self, size: int) -> ByteRange:
        """The interval around a size."""
        return ByteRange(size * self.low // _PERCENT, size, size * self.high // _PERCENT + _SMALL)


_EXACT = Factors(100, 100)
_CAST = Factors(75, 130)
_UNSEEN = Factors(50, 200)
_YARDSTICK = Factors(70, 125)
_FACTORS = {Known.EXACT: _EXACT, Known.READ: Factors(75, 130), Known.BOUNDED: _UNSEEN, Known.YARDSTICK: _YARDSTICK}
_PIPELINED_YARDSTICK = Factors(75, 125)
_PARTIAL, _EXPERTS_HOSTED, _RECURRENT_PARTIAL = 120, 110, 160
"""Hundredths of a whole buffer and what is brought to the card, which partial buffers do not exceed: 106, 98 and 142
were the most seen. One tensor is brought at a time, so that above 100 there are only gaps between blocks."""
_SMALL = MIB
"""Room for small inputs that are not summed, and for what a driver rounds up."""
_TOKEN_INPUTS = 64
"""Room for what is told of each token: itself, its position, its places in caches, whether it is an output."""


@dataclass(frozen=True, slots=True)
class Computing:
    """What the compute buffers follow from.

    Attributes:
        drawn: the settings without what does not change a graph, see `of_graph`.
        blocks: what the tensor table says of the graph.
        graph: sizes of tensors of a ubatch.
        caches: of all layers, wherever they are.
        whole: the compute buffer of one card that holds everything.
        context: outside all buffers, of each card.
    """

    shape: Shape
    rules: Rules
    settings: Settings
    drawn: Settings
    sizes: Contexts
    places: Placement
    weights: Weights
    blocks: Blocks
    graph: Graph
    caches: Caches
    whole: int
    context: ContextMemory

    @property
    def is_exact(self) -> bool:
        """Whether the buffers are known to the byte."""
        return (self.places.is_whole or not self.settings.devices) and _factors(self) == _EXACT


def card_compute(computing: Computing, device: int) -> ByteRange:
    """Of one card; nothing where it has no layer and computes nothing for the host."""
    places, settings = computing.places, computing.settings
    used = {*places.layers, places.output}
    if device not in used and (device != 0 or not settings.op_offload or places.is_whole):
        return ByteRange.exact(0)
    if settings.flash_attention is FlashAttention.AUTO and _may_lose_flash(computing):
        return _union(*(card_compute(_with_flash(computing, each), device) for each in _EITHER))
    if not places.is_whole:
        return _partial(computing)
    if _is_yardstick(computing):
        return _recurrent(computing, device)
    return _factors(computing).around(_laid_out(computing, device))


def host_compute(computing: Computing) -> ByteRange:
    """Pinned on the host, or the whole graph where there is no card."""
    if computing.settings.flash_attention is FlashAttention.AUTO and _may_lose_flash(computing):
        return _union(*(host_compute(_with_flash(computing, each)) for each in _EITHER))
    graph, rules = computing.graph, computing.rules
    if not computing.settings.devices:
        return _factors(computing).around(computing.whole)
    size = (4 if rules.mixes_inputs else 2) * graph.residual + graph.inputs
    if computing.settings.devices > 1 and computing.places.is_whole:
        size = rules.pipelined_host * graph.residual + 4 * graph.inputs
    size += (computing.shape.stacked + int(computing.shape.architecture.places_tokens)) * graph.residual
    small = _SMALL + (4 if computing.settings.devices > 1 else 1) * _TOKEN_INPUTS * computing.sizes.tokens
    if computing.places.is_whole:
        return ByteRange(size, size, size + small)
    whole = computing.whole
    return ByteRange(min(size, whole) // 2, max(size, whole), 2 * (size + whole) + small)


_EITHER = (FlashAttention.ON, FlashAttention.OFF)


def _may_lose_flash(computing: Computing) -> bool:
    """src/llama-context.cpp, resolve_fused_ops: the probe finds a tensor on another device than its layer."""
    return computing.shape.architecture.is_recurrent and not computing.places.is_whole


def _with_flash(computing: Computing, flash: FlashAttention) -> Computing:
    settings = replace(computing.settings, flash_attention=flash)
    drawn = of_graph(settings)
    graph = graph_of(computing.shape, drawn, computing.sizes)
    whole = whole_compute(computing.shape, computing.blocks, computing.rules, drawn, computing.sizes)
    return replace(computing, settings=settings, drawn=drawn, graph=graph, whole=whole)


def _union(one: ByteRange, other: ByteRange) -> ByteRange:
    return ByteRange(min(one.low, other.low), one.expected, max(one.high, other.high))


def _is_yardstick(computing: Computing) -> bool:
    return computing.shape.architecture.graph is Known.YARDSTICK


def _factors(computing: Computing) -> Factors:
    if "f32" in (computing.settings.key_type, computing.settings.value_type):
        # Such a cache is cast in the graph, which is not laid out (src/llama-graph.cpp, build_attn_mha).
        return _CAST
    known = computing.shape.architecture.graph
    if known is Known.EXACT and computing.settings.pooling is not None and not computing.rules.pooling_compared:
        known = Known.READ
    return _FACTORS[known]


def _laid_out(computing: Computing, device: int) -> int:
    """The buffer of a card, by its part of the graph."""
    each = computing
    if each.settings.devices == 1:
        return each.whole
    layers = each.places.layers[: len(each.shape.main_layers)]
    own = [index for index, place in enumerate(layers) if place == device]
    first, end = (own[0], own[-1] + 1) if own else (len(layers), len(layers))
    part = Part(first, end, has_output=each.places.output == device, is_pipelined=True)
    return transformer_bytes(each.shape, each.blocks, each.rules, each.drawn, each.sizes, part=part)


def whole_compute(shape: Shape, blocks: Blocks, rules: Rules, drawn: Settings, sizes: Contexts) -> int:
    """The buffer of one card that holds everything; `drawn` is what `of_graph` makes of settings."""
    if shape.architecture.graph is Known.YARDSTICK:
        return _yardstick(shape, sizes, graph_of(shape, drawn, sizes))
    part = Part(0, len(shape.main_layers), has_output=True, is_pipelined=False)
    return transformer_bytes(shape, blocks, rules, drawn, sizes, part=part)


def of_graph(settings: Settings) -> Settings:
    """Without what does not change a graph, so that all placements of a model share it."""
    split = settings.split and (1.0,)
    return replace(settings, context=0, gpu_layers=None, cpu_moe=0, split=split, image_tokens=0)


def _recurrent(computing: Computing, device: int) -> ByteRange:
    """Recurrent models and hybrids; several cards keep inputs four times."""
    graph, size = computing.graph, computing.whole
    if computing.settings.devices == 1:
        around = _YARDSTICK.around(size)
        # Other kernels read a quantized cache as it is, and older builds copied it in the pool.
        return replace(around, low=max(around.low - graph.copies, 0))
    residuals = (13 if computing.rules.mixes_inputs else 4) if device == 0 else 8
    return _PIPELINED_YARDSTICK.around(size + 3 * graph.inputs + residuals * graph.residual)


def _yardstick(shape: Shape, sizes: Contexts, graph: Graph) -> int:
    """The largest of FFN, experts, attention, the recurrence and the logits, and masks."""
    row = graph.residual // shape.embedding
    gate = 2 if shape.architecture.gates_queries else 1
    state = shape.state
    recurrence = row * (6 * state.inner + 3 * (state.projected - state.inner)) + 2 * graph.residual
    recurrence += 2 * state.bytes * sizes.slots
    attention = 4 * graph.residual + 2 * gate * graph.query + graph.copies + graph.scores
    experts = max(3 * graph.experts + 4 * graph.residual, 2 * graph.expert_outputs + graph.experts + 2 * graph.residual)
    forward = 3 * graph.forward + 4 * graph.residual
    return max(forward, experts, attention, recurrence, graph.logits) + graph.masks


def _two_caches(computing: Computing) -> int:
    """Where a layer's cache was, small tensors settle before that of the next layer is brought, which then lies beside.

    Models of 4, 8 and 16 layers took up to 83 % of this; more layers took no more.
    """
    if HOST not in computing.places.layers and not computing.places.cache_hosted:
        return 0
    return 2 * computing.graph.layer_cache


def _partial(computing: Computing) -> ByteRange:
    """Prompts stream the host's weights through the card, so that it holds the largest of them, or a layer's cache.

    ggml/src/ggml-cuda/ggml-cuda.cu, ggml_backend_cuda_device_offload_op: from 32 tokens on.
    """
    whole = computing.whole
    streamed = computing.weights.streamed(computing.places) if computing.settings.op_offload else 0
    is_ungated = not computing.shape.experts.count and not computing.blocks.any_has("ffn_gate.weight")
    low = 75 * whole // _PERCENT if is_ungated else max(75 * whole // _PERCENT, 35 * whole // _PERCENT + streamed)
    if computing.settings.devices > 1 or computing.shape.architecture.is_recurrent:
        low = 0
    if HOST in computing.places.layers or computing.places.cache_hosted:
        factor, brought = _PARTIAL, max(streamed, computing.graph.layer_cache)
    else:
        factor, brought = _EXPERTS_HOSTED, streamed
    if computing.shape.architecture.is_recurrent:
        factor = _RECURRENT_PARTIAL
    high = max(factor * (whole + brought) // _PERCENT, whole + streamed + _two_caches(computing))
    return ByteRange(min(low, high), min(max(low, whole + streamed), high), high)
