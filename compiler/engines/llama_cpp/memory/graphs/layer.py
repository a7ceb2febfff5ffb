"""One layer of a transformer (src/llama-graph.cpp and src/models/ of b10435).

Only sizes and the order of operations matter; what a class computes besides (scales, soft caps) overwrites its operand.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.llama_cpp.memory.blocks import LayerTensors
from compiler.engines.llama_cpp.memory.graphs.allocator import Layout, Node
from compiler.engines.llama_cpp.memory.graphs.batch import attend_to_batch
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, INDEX, GraphBuilder
from compiler.engines.llama_cpp.memory.graphs.delta_net import delta_net
from compiler.engines.llama_cpp.memory.graphs.experts import Router, experts
from compiler.engines.llama_cpp.memory.graphs.inputs import Inputs
from compiler.engines.llama_cpp.memory.graphs.recurrent import Recurrent, short_convolution, state_space
from compiler.engines.llama_cpp.models.architectures import Architecture, Rotation
from compiler.engines.llama_cpp.models.shape import Attention, Layer, Shape
from compiler.engines.llama_cpp.releases.rules import Rules
from compiler.engines.llama_cpp.settings import Contexts, FlashAttention, Settings


@dataclass(slots=True)
class Rows:
    """How many tokens pass: all, and after the last attention those whose logits are wanted."""

    tokens: int
    embedding: int

    @property
    def size(self) -> int:
        """Bytes of the residual."""
        return FLOAT * self.embedding * self.tokens

    @property
    def layout(self) -> Layout:
        """Of the residual."""
        return ("residual", self.tokens)


class Whole:
    """What layers share: the graph that they are added to, its inputs, and the tokens that still pass."""

    def __init__(self, graph: GraphBuilder, shape: Shape, rules: Rules, settings: Settings, sizes: Contexts) -> None:
        self.graph, self.shape, self.rules, self.settings, self.sizes = graph, shape, rules, settings, sizes
        self.inputs = Inputs(self.graph, shape, settings, sizes)
        self.rows = Rows(sizes.tokens, shape.embedding)

    def norm(self, state: Node) -> Node:
        """A norm and its weight; only that by the root of squares overwrites."""
        if self.shape.architecture.centers_norms:
            state = self.graph.compute(state.size, state.layout, state)
        else:
            state = self.graph.change(state)
        return self.graph.change(state, self.graph.weights)


class LayerGraph:
    """One layer."""

    def __init__(self, whole: Whole, index: int, layer: Layer, tensors: LayerTensors) -> None:
        self.whole, self.graph, self.inputs = whole, whole.graph, whole.inputs
        self.layer, self.tensors, self.tokens = layer, tensors, whole.sizes.tokens
        self.gate: Node | None = None
        self.rotates = _rotates(whole.shape.architecture, index, layer)

    def build(self, state: Node, normed: Node | None, *, is_last: bool) -> Node:
        """The state after the layer, whose norm another card may have begun."""
        rows = self.whole.rows
        if not self.tensors.has("attn_norm.weight"):
            normed = state
        elif normed is None:
            normed = self.whole.norm(state)
        else:
            normed = self.graph.change(normed, self.graph.weights)
        attended = self._mix(normed)
        if self.layer.is_recurrent and self.layer.has_cache:
            attended = self.graph.change(attended, self._recur(self.whole.norm(state)))
        if is_last:
            self.whole.rows = rows = Rows(self.whole.sizes.outputs, rows.embedding)
            wanted = self.graph.input("outputs", INDEX * rows.tokens)
            attended, state = (self.graph.compute(rows.size, rows.layout, each, wanted) for each in (attended, state))
            if self.whole.shape.architecture.is_parallel:
                normed = self.graph.compute(rows.size, rows.layout, normed, wanted)
        if self.whole.shape.architecture.is_parallel:
            forward = self._feed_forward(normed)
            return self.graph.change(self.graph.change(forward, state), attended)
        if self.whole.shape.architecture.norms_after:
            return self._before_norms(attended, state)
        return self._beside_residual(attended, state)

    @property
    def mixes(self) -> bool:
        """Whether tokens learn of each other here; some layers are an FFN alone."""
        return self.layer.is_recurrent or self.layer.attention is not Attention.NONE

    @property
    def has_feed_forward(self) -> bool:
        """Whether there is an FFN, or experts."""
        return self.tensors.has("ffn_down.weight") or self.tensors.has("ffn_gate_inp.weight")

    def _mix(self, normed: Node) -> Node:
        """What tokens learn of each other, or the FFN of a layer that has nothing else."""
        if not self.mixes:
            return self._feed_forward(normed)
        rows = self.whole.rows
        if self.layer.is_recurrent and not self.layer.has_cache:
            return self._recur(normed)
        attended = self._latent(normed) if self.layer.attention is Attention.LATENT else self._attention(normed)
        return self._project(attended, "attn_output", rows.size, rows.layout)

    def _recur(self, normed: Node) -> Node:
        whole, rows = self.whole, self.whole.rows
        net = Recurrent(
            state=whole.shape.state,
            sizes=whole.sizes,
            tensors=self.tensors,
            embedding=rows.embedding,
            repeats_heads=whole.shape.architecture.repeats_heads,
            rules=whole.rules,
        )
        if self.tensors.has("shortconv.in_proj.weight"):
            return short_convolution(self.graph, net, normed, rows.layout)
        if self.tensors.has("ssm_in.weight"):
            return state_space(self.graph, net, normed, rows.layout)
        return delta_net(self.graph, net, normed, rows.layout)

    def _beside_residual(self, attended: Node, state: Node) -> Node:
        is_between = self.tensors.has("post_ffw_norm.weight")
        if is_between and self.tensors.has("post_attention_norm.weight"):
            attended = self.whole.norm(attended)
        residual = self._added(attended, state)
        if not self.has_feed_forward or not self.mixes:
            return residual
        is_normed = self.tensors.has("ffn_norm.weight") or not is_between
        forward = self._feed_forward(self.whole.norm(residual) if is_normed else residual)
        return self._added(self.whole.norm(forward) if is_between else forward, residual)

    def _before_norms(self, attended: Node, state: Node) -> Node:
        """src/models/bert.cpp: the residual is what was normed; some add it twice."""
        attended = self.whole.norm(self.graph.change(attended, state))
        if self.tensors.has("attn_norm_2.weight"):
            attended = self.whole.norm(self.graph.change(attended, state))
        return self.whole.norm(self.graph.change(self._feed_forward(attended), attended))

    def _added(self, part: Node, residual: Node) -> Node:
        operands = (residual, part) if self.whole.shape.architecture.adds_to_residual else (part, residual)
        return self.graph.change(*operands)

    def _project(self, operand: Node, name: str, size: int, layout: Layout) -> Node:
        return self.graph.multiply(size, layout, operand, has_bias=self.tensors.has(f"{name}.bias"))

    # Attention -----------------------------------------------------------------------------------------------------

    def _attention(self, normed: Node) -> Node:
        query, key, value = self._parts(normed)
        if self.layer.attends_to_batch:
            flash = self.whole.settings.flash_attention is not FlashAttention.OFF
            return attend_to_batch(self.graph, self.inputs, self.layer, (query, key, value), self.tokens, flash=flash)
        if self.layer.has_cache:
            query, key, value = self.inputs.rotated(self.layer, query, key, value)
            ordered = (query, key, value) if self.whole.shape.window else (query, value, key)
            for each in ordered:
                self.graph.expand(each)
            self.inputs.store_keys(self.layer, key)
            self.inputs.store_values(self.layer, value)
        else:
            self.graph.expand(query)
        width = self.layer.heads * self.layer.value_length
        attended = self.inputs.unrotated(self.layer, self._attend(query, width))
        if self.gate is None:
            return attended
        opened = self.graph.change(self.gate)
        return Node(opened.size, opened.layout, (attended, opened), overwrites=True)

    def _parts(self, normed: Node) -> tuple[Node, Node, Node]:
        layer = self.layer
        sizes = [
            FLOAT * self.tokens * width
            for width in (layer.heads * layer.key_length, layer.key_width, layer.kv_heads * layer.value_length)
        ]
        if self.tensors.has("attn_qkv.weight"):
            whole = self._project(normed, "attn_qkv", sum(sizes), ("qkv",))
            parts = [self.graph.view(whole, ("part",)) for _ in sizes]
        else:
            names = ("attn_q", "attn_k", "attn_v")
            parts = [self._project(normed, name, size, ("flat", size)) for name, size in zip(names, sizes, strict=True)]
        if self.whole.shape.architecture.gates_queries:
            both = self.graph.multiply(2 * sizes[0], ("both",), normed)
            parts[0] = self.graph.view(both)
            self.gate = self.graph.compute(sizes[0], ("flat", sizes[0]), self.graph.view(both))
        query, key = (
            self._normed_heads(part, size, name)
            for part, size, name in zip(parts, sizes, ("attn_q_norm.weight", "attn_k_norm.weight"), strict=False)
        )
        value = parts[2] if parts[2].viewed is not None else self.graph.view(parts[2], ("heads", sizes[2]))
        if self.whole.shape.architecture.norms_values:
            value = self.graph.compute(sizes[2], ("heads", sizes[2]), value)
        return query, key, value

    def _normed_heads(self, part: Node, size: int, name: str) -> Node:
        """Norms of all heads together come before they are told apart, those of each head after."""
        layout: Layout = ("heads", size)
        is_normed = self.tensors.has(name)
        is_whole = self.tensors.rows_of("attn_q_norm.weight") > self.layer.key_length
        if is_normed and is_whole:
            part = self.whole.norm(part)
        split = part if part.viewed is not None else self.graph.view(part, layout)
        if is_normed and not is_whole:
            split = self._changed(split, size, layout)
            split = self.graph.change(split, self.graph.weights)
        return self._changed(split, size, layout, self.inputs.positions) if self.rotates else split

    def _changed(self, operand: Node, size: int, layout: Layout, *others: Node) -> Node:
        """An elementwise operation, which never overwrites through a view."""
        return Node(size, layout, (operand, *others), overwrites=True)

    def _attend(self, query: Node, width: int) -> Node:
        size = FLOAT * width * self.tokens
        split = self.graph.view(self.graph.view(query))
        if self.whole.settings.flash_attention is not FlashAttention.OFF:
            copies = self.inputs.copies(self.layer, size)
            weights, mask = self.graph.weights, self.inputs.mask(self.layer)
            attended = self.graph.compute(copies, ("attended",), split, weights, weights, mask)
            result = self.graph.view(attended, ("flat", size))
        else:
            result = self._attend_in_steps(split, size)
        self.graph.expand(result)
        return result

    def _attend_in_steps(self, query: Node, size: int) -> Node:
        scores = self.graph.compute(self.inputs.scores(self.layer), ("scores",), self.graph.weights, query)
        shares = self.graph.change(scores, self.inputs.mask(self.layer))
        mixed = self.graph.compute(size, ("mixed",), self.graph.weights, shares)
        if self.layer.attention is Attention.LATENT:
            mixed = self._decompressed(mixed)
            size = mixed.size
        return self.graph.compute(size, ("flat", size), self.graph.view(mixed))

    def _latent(self, normed: Node) -> Node:
        """Queries are brought into the latent's space, in which all heads share one key (src/models/deepseek2.cpp)."""
        layer, unit = self.layer, FLOAT * self.tokens
        query_size = unit * layer.heads * self.whole.shape.latent_heads[0]
        rank = self.tensors.rows_of("attn_q_a.weight")
        if rank:
            normed_query = self.whole.norm(self.graph.multiply(unit * rank, ("rank",), normed))
            query = self.graph.multiply(query_size, ("query",), normed_query)
        else:
            query = self.graph.multiply(query_size, ("query",), normed)
        turned_width = layer.key_length - layer.value_length
        turned = self._changed(
            self.graph.view(query), unit * layer.heads * turned_width, ("turned", layer.heads), self.inputs.positions
        )
        both = self.graph.multiply(unit * layer.key_length, ("latent",), normed)
        key_turned = self._changed(self.graph.view(both), unit * turned_width, ("turned", 1), self.inputs.positions)
        latent = self._changed(self.graph.view(both), unit * layer.value_length, ("value",))
        latent = self.graph.view(self.graph.change(latent, self.graph.weights))
        plain = self.graph.view(query)
        compressed = self.graph.multiply(
            unit * layer.heads * layer.value_length, ("compressed",), self.graph.view(plain)
        )
        query = self.graph.compute(
            unit * layer.heads * layer.key_length, ("heads",), self.graph.view(self.graph.view(compressed)), turned
        )
        key = self.graph.compute(unit * layer.key_length, ("key",), latent, key_turned)
        for each in (query, latent, key):
            self.graph.expand(each)
        self.inputs.store_keys(layer, key)
        return self._attend_latent(query)

    def _attend_latent(self, query: Node) -> Node:
        layer = self.layer
        if self.whole.settings.flash_attention is FlashAttention.OFF:
            return self._attend(query, layer.heads * layer.value_length)
        size = FLOAT * self.tokens * layer.heads * layer.value_length
        split = self.graph.view(self.graph.view(query))
        weights, mask = self.graph.weights, self.inputs.mask(layer)
        attended = self.graph.compute(self.inputs.copies(layer, size), ("attended",), split, weights, weights, mask)
        mixed = self._decompressed(self.graph.view(attended))
        flat = self.graph.compute(mixed.size, ("flat", mixed.size), self.graph.view(mixed))
        self.graph.expand(flat)
        return self.graph.view(flat, ("flat", mixed.size))

    def _decompressed(self, mixed: Node) -> Node:
        size = FLOAT * self.tokens * self.layer.heads * self.whole.shape.latent_heads[1]
        return self.graph.multiply(size, ("decompressed",), mixed)

    # FFN and experts -----------------------------------------------------------------------------------------------

    def _feed_forward(self, normed: Node) -> Node:
        if not self.tensors.has("ffn_gate_inp.weight"):
            return self._dense(normed, "", self.layer.feed_forward)
        rows = self.whole.rows
        router = Router(self.whole.shape.experts, self.tensors, self.whole.shape.architecture, rows.embedding)
        routed = experts(self.graph, router, normed, rows.tokens)
        shared = self.tensors.rows_of("ffn_up_shexp.weight")
        if not shared:
            return routed
        dense = self._dense(normed, "_shexp", shared)
        if self.tensors.has("ffn_gate_inp_shexp.weight"):
            share = self.graph.change(self.graph.multiply(FLOAT * rows.tokens, ("share",), normed))
            dense = self.graph.change(dense, share)
        return self.graph.change(routed, dense)

    def _dense(self, normed: Node, kind: str, width: int) -> Node:
        rows = self.whole.rows
        size, layout = FLOAT * width * rows.tokens, ("inner", width)
        if self.tensors.has(f"ffn_gate{kind}.weight"):
            up = self._project(normed, f"ffn_up{kind}", size, layout)
            gate = self._project(normed, f"ffn_gate{kind}", size, layout)
            inner = self.graph.compute(size, layout, gate, up)
        elif self.tensors.rows_of("ffn_up.weight") == 2 * width:
            inner = self.graph.compute(size, layout, self._project(normed, "ffn_up", 2 * size, ("both",)))
        else:
            inner = self.graph.change(self._project(normed, f"ffn_up{kind}", size, layout))
        return self._project(inner, f"ffn_down{kind}", rows.size, rows.layout)


def _rotates(architecture: Architecture, index: int, layer: Layer) -> bool:
    match architecture.rotation:
        case Rotation.ALWAYS | Rotation.NEVER:
            return architecture.rotation is Rotation.ALWAYS
        case Rotation.NOT_EVERY_FOURTH:
            return (index + 1) % 4 != 0
        case Rotation.IN_WINDOWS:
            return layer.is_windowed
