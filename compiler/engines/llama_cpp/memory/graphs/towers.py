"""The graph of each kind of tower (tools/mtmd/models/, b10435), and the buffers that an image takes with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from compiler.engines.llama_cpp.memory.graphs.allocator import Node, buffer_bytes
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, HALF, INDEX
from compiler.engines.llama_cpp.memory.graphs.tower import Image, TowerGraph
from compiler.engines.llama_cpp.models.tower import Kind, Tower

_LARGE_WIDTH, _LARGE_LAYERS = 3200, 45
"""Of the one InternViT that norms by the root of squares (tools/mtmd/models/internvl.cpp, b10435)."""


@dataclass(frozen=True, slots=True)
class TowerBytes:
    """What an image takes: of the device of the tower, and of the host, which keeps what it brings there."""

    device: int
    inputs: int


@lru_cache(maxsize=256)
def tower_bytes(tower: Tower, image: Image) -> TowerBytes:
    """The compute buffers for an image."""
    graph = TowerGraph(tower, image)
    graph.graph.expand(_BUILDERS[tower.kind](graph))
    inputs = sum(each.size for each in graph.graph.inputs.values())
    return TowerBytes(buffer_bytes(graph.graph.all_nodes), inputs)


Rotate = Callable[[Node], Node]


class _Layers:
    """clip_graph::build_vit: a norm perhaps, layers, a norm perhaps."""

    def __init__(self, graph: TowerGraph, rotate: Rotate | None = None) -> None:
        self.graph, self.rotate = graph, rotate
        self.by_root = _norms_by_root(graph.tower)
        self.mask: Node | None = None

    def all(self, state: Node) -> Node:
        """What comes out of the last layer, of what may be normed before the first."""
        return self.rest(self.named_norm(state, "v.pre_ln"))

    def rest(self, state: Node) -> Node:
        """The same of what was normed."""
        for index in range(self.graph.tower.layers):
            state = self.one(state, index)
        return self.named_norm(state, "v.post_ln")

    def named_norm(self, state: Node, name: str) -> Node:
        """A norm that some towers have."""
        if not self.graph.tower.has(f"{name}.weight"):
            return state
        return self.graph.norm(state, name, self.graph.residual, by_root=self.by_root)

    def one(self, state: Node, index: int) -> Node:
        """A layer."""
        graph, window = self.graph, self.graph.tower.window
        query, key, value = graph.separate(graph.norm(state, "ln1", graph.residual, by_root=self.by_root))
        if self.rotate is not None:
            query, key = self.rotate(query), self.rotate(key)
        if graph.tower.kind is Kind.GEMMA_4:
            value = graph.changed(value, graph.heads)
        mask = self.mask if window and (index + 1) % window else None
        attended = self._scaled(graph.attend(query, key, value, mask), "ls1")
        middle = graph.like(self.named_norm(attended, "attn_post_norm"), state)
        normed = graph.norm(middle, "ln2", graph.residual, by_root=self.by_root)
        forward = self.named_norm(graph.feed_forward(normed, graph.positions), "ffn_post_norm")
        return self._scaled(graph.like(middle, self._scaled(forward, "ls2")), "out_scale")

    def _scaled(self, state: Node, name: str) -> Node:
        has_scale = self.graph.tower.has(f"{name}.weight")
        return self.graph.like(state, self.graph.graph.weights) if has_scale else state


def _norms_by_root(tower: Tower) -> bool:
    if tower.kind is Kind.INTERN_VL:
        return (tower.embedding, tower.layers) == (_LARGE_WIDTH, _LARGE_LAYERS)
    return tower.kind in (Kind.PIXTRAL, Kind.GEMMA_4, Kind.GLM_4V, Kind.QWEN_2_5_VL)


def _halves(graph: TowerGraph, first: str, second: str) -> Rotate:
    """Each half of a head by another coordinate (clip_graph::build_rope_2d)."""
    half = (FLOAT, graph.tower.head // 2, graph.tower.heads, graph.positions)

    def rotate(part: Node) -> Node:
        turned = [
            graph.changed(graph.view(part, *half, 0), half, graph.input(name, INDEX, graph.positions))
            for name in (first, second)
        ]
        return graph.new(graph.heads, *turned)

    return rotate


def _sections(graph: TowerGraph) -> Rotate:
    """All by four coordinates at once (ggml_rope_multi)."""
    return lambda part: graph.changed(part, graph.heads, graph.input("positions", INDEX, 4 * graph.positions))


def _flat(graph: TowerGraph, inp: Node) -> Node:
    return graph.view(inp, *graph.residual)


def _embeddings(graph: TowerGraph) -> int:
    return graph.image.patches // graph.tower.merge**2


def _merged(graph: TowerGraph, state: Node) -> Node:
    """Neighbouring patches side by side (clip_graph::build_patch_merge_permute)."""
    width, merge, rows = graph.tower.embedding, graph.tower.merge, _embeddings(graph)
    halfway = graph.turned(graph.view(state), FLOAT, width * merge, rows * merge)
    return graph.turned(graph.view(halfway), FLOAT, width * merge**2, rows)


def _pooled(graph: TowerGraph, state: Node) -> Node:
    """The mean of neighbouring patches."""
    width, rows = graph.tower.embedding, _embeddings(graph)
    turned = graph.turned(graph.view(state), FLOAT, graph.image.patches, width)
    return graph.turned(graph.view(graph.new((FLOAT, rows, width), turned)), FLOAT, width, rows)


def _siglip(graph: TowerGraph) -> Node:
    """tools/mtmd/models/siglip.cpp: Gemma 3, Idefics 3 and LFM2."""
    inp = graph.patches(graph.pixels())
    places = graph.resized_places() if graph.tower.kind is Kind.LFM_2 else graph.graph.weights
    state = graph.view(_Layers(graph).all(_flat(graph, graph.like(inp, places))), *graph.residual, 1)
    if graph.tower.kind is Kind.GEMMA_3:
        return _soft_embeddings(graph, _pooled(graph, state))
    merged, rows = _merged(graph, state), _embeddings(graph)
    if graph.tower.kind is Kind.IDEFICS_3:
        return graph.new((FLOAT, graph.tower.embedded, rows), graph.graph.weights, merged)
    if graph.tower.has("mm.input_norm.weight"):
        layout = (FLOAT, graph.tower.embedding * graph.tower.merge**2, rows)
        merged = graph.norm(merged, "mm.input_norm", layout, by_root=False)
    return graph.perceptron(merged, rows, "mm.1", "mm.2")


def _soft_embeddings(graph: TowerGraph, state: Node) -> Node:
    """Through a matrix that is turned first."""
    matrix = graph.tower.tensors["mm.input_projection.weight"]
    normed = graph.like(graph.like(state), graph.graph.weights)
    turned = graph.new((matrix.bytes,), graph.view(graph.graph.weights))
    return graph.new((FLOAT, graph.tower.embedded, _embeddings(graph)), turned, normed)


def _gemma_4(graph: TowerGraph) -> Node:
    """tools/mtmd/models/gemma4v.cpp."""
    inp, count, width = graph.patches(graph.like(graph.pixels())), graph.image.patches, graph.tower.embedding
    for name in ("columns", "lines"):
        places = graph.new((FLOAT, width, count), graph.view(graph.graph.weights), graph.input(name, INDEX, count))
        inp = graph.like(inp, places)
    state = graph.view(_Layers(graph, _halves(graph, "columns", "lines")).all(_flat(graph, inp)), *graph.residual, 1)
    pooled = graph.like(_pooled(graph, state))
    if graph.tower.has("v.std_bias") and graph.tower.has("v.std_scale"):
        pooled = graph.like(graph.like(pooled, graph.graph.weights), graph.graph.weights)
    return graph.multiply(graph.like(pooled), "mm.input_projection", _embeddings(graph), graph.tower.embedded)


def _intern_vl(graph: TowerGraph) -> Node:
    """tools/mtmd/models/internvl.cpp."""
    width, rows = graph.tower.embedding, _embeddings(graph)
    inp = graph.patches(graph.pixels())
    whole = graph.new(graph.residual, inp, graph.new((FLOAT, width, 1), graph.graph.weights))
    state = _Layers(graph).all(_flat(graph, graph.like(whole, graph.graph.weights)))
    merged = _merged(graph, graph.turned(graph.view(state), FLOAT, width, graph.image.patches))
    layout = (FLOAT, width * graph.tower.merge**2, rows)
    normed = graph.norm(merged, "mm.model.mlp.0", layout, by_root=False)
    return graph.perceptron(normed, rows, "mm.model.mlp.1", "mm.model.mlp.3")


def _pixtral(graph: TowerGraph) -> Node:
    """tools/mtmd/models/pixtral.cpp: a token ends each row of an image."""
    tower, rows = graph.tower, graph.image.rows
    state = _Layers(graph, _halves(graph, "lines", "columns")).all(_flat(graph, graph.patches(graph.pixels())))
    count = graph.image.patches
    if tower.has("mm.patch_merger.weight"):
        count = _embeddings(graph)
        normed = graph.like(graph.changed(state, graph.residual), graph.graph.weights)
        turned = graph.turned(graph.view(normed), FLOAT, graph.image.patches, tower.embedding)
        around = graph.new((FLOAT, tower.embedding * tower.merge**2, count), graph.view(turned), turned)
        state = graph.new((FLOAT, tower.embedding, count), graph.graph.weights, graph.view(around))
    embedded = graph.perceptron(state, count, "mm.1", "mm.2")
    ends = graph.like(graph.like(graph.input("row ends", FLOAT, tower.embedded, 1, rows)), graph.graph.weights)
    with_ends = graph.new((FLOAT, tower.embedded, count + rows), graph.view(embedded), ends)
    return graph.view(with_ends)


def _qwen(graph: TowerGraph) -> Node:
    """tools/mtmd/models/qwen2vl.cpp, of Qwen 2 and 2.5: patches in fours, in windows of which the host makes a mask."""
    count, width, tower = graph.image.patches, graph.tower.embedding, graph.tower
    layers, quarter = _Layers(graph, _sections(graph)), count // 4
    state = layers.named_norm(_in_fours(graph, _both_frames(graph)), "v.pre_ln")
    if tower.window:
        order = graph.input("windows", INDEX, quarter)
        state = graph.view(graph.new((FLOAT, 4 * width, quarter), graph.view(state), order), *graph.residual)
        layers.mask = graph.new((HALF, count, count), graph.input("mask", FLOAT, count, count))
    state = graph.view(layers.rest(state))
    embedded = graph.perceptron(state, quarter, "mm.0", "mm.2")
    if not tower.window:
        return embedded
    back = graph.input("order", INDEX, quarter)
    return graph.new((FLOAT, tower.embedded, quarter), graph.view(embedded), back)


def _both_frames(graph: TowerGraph) -> Node:
    """A still image is two equal frames of a video; two images of one size are its two frames."""
    first, second = graph.pair()
    return graph.like(graph.unrolled(first), graph.unrolled(second))


def _in_fours(graph: TowerGraph, state: Node) -> Node:
    count, width = graph.image.patches, graph.tower.embedding
    halfway = graph.turned(graph.view(state), FLOAT, 2 * width, count // 2)
    return graph.turned(graph.view(halfway), FLOAT, width, count)


def _qwen_3(graph: TowerGraph) -> Node:
    """tools/mtmd/models/qwen3vl.cpp: some layers' outputs are embeddings too, and wait for the last."""
    quarter, tower = graph.image.patches // 4, graph.tower
    inp = _in_fours(graph, _both_frames(graph))
    if tower.has("v.patch_embd.bias"):
        inp = graph.like(inp, graph.graph.weights)
    state = graph.like(inp, _in_fours(graph, graph.resized_places()))
    layers, outer = _Layers(graph, _sections(graph)), tower.embedded // (1 + len(tower.deep))
    state, deep = layers.named_norm(state, "v.pre_ln"), []
    for index in range(tower.layers):
        state = layers.one(state, index)
        if index in tower.deep:
            deep.append(_deep(graph, state))
    state = layers.named_norm(state, "v.post_ln")
    embedded = graph.perceptron(graph.view(state), quarter, "mm.0", "mm.2")
    if not deep:
        return embedded
    features = deep[0]
    for number, feature in enumerate(deep[1:], 2):
        features = graph.new((FLOAT, number * outer, quarter), features, feature)
    return graph.new((FLOAT, tower.embedded, quarter), embedded, features)


def _deep(graph: TowerGraph, state: Node) -> Node:
    quarter = graph.image.patches // 4
    layout = (FLOAT, 4 * graph.tower.embedding, quarter)
    normed = graph.norm(graph.view(state, *layout), "deepstack.norm", layout, by_root=False)
    return graph.perceptron(normed, quarter, "deepstack.fc1", "deepstack.fc2")


def _kimi_vl(graph: TowerGraph) -> Node:
    """tools/mtmd/models/kimivl.cpp."""
    inp, places, rows = graph.patches(graph.pixels()), graph.resized_places(), _embeddings(graph)
    state = _Layers(graph, _halves(graph, "columns", "lines")).all(_flat(graph, graph.like(inp, places)))
    merged = graph.view(_merged(graph, state), *graph.residual)
    normed = graph.norm(merged, "mm.input_norm", graph.residual, by_root=False)
    return graph.perceptron(graph.view(normed), rows, "mm.1", "mm.2")


def _glm_4v(graph: TowerGraph) -> Node:
    """tools/mtmd/models/glm4v.cpp: patches are merged by a convolution, whose operand is unrolled too."""
    tower, count, rows = graph.tower, graph.image.patches, _embeddings(graph)
    inp = graph.like(_in_fours(graph, _both_frames(graph)), graph.graph.weights)
    layers = _Layers(graph, _sections(graph))
    state = layers.named_norm(inp, "v.norm_embd")
    if tower.has("v.position_embd.weight"):
        state = graph.like(state, _in_fours(graph, graph.resized_places()))
    turned = graph.turned(graph.view(layers.all(_flat(graph, state))), FLOAT, count, tower.embedding)
    merger = tower.tensors["mm.patch_merger.weight"]
    element, width = FLOAT if merger.type.name == "bf16" else HALF, merger.shape[-1]
    unrolled = graph.new((element, tower.embedding * tower.merge**2, rows), graph.graph.weights, turned)
    mixed = graph.new((FLOAT, rows, width), graph.view(unrolled), graph.view(graph.graph.weights))
    merged = graph.view(graph.turned(graph.view(mixed), FLOAT, width, rows, 1), FLOAT, width, rows)
    merged = graph.changed(merged, (FLOAT, width, rows), graph.graph.weights)
    middle = tower.rows("mm.model.fc.weight")
    projected = graph.new((FLOAT, middle, rows), graph.graph.weights, merged)
    normed = graph.like(graph.norm(projected, "mm.post_norm", (FLOAT, middle, rows), by_root=False))
    inner = tower.rows("mm.up.weight")
    risen = graph.multiply(normed, "mm.up", rows, inner)
    opened = graph.new((FLOAT, inner, rows), graph.multiply(normed, "mm.gate", rows, inner), risen)
    return graph.multiply(opened, "mm.down", rows, tower.embedded)


def _llama_4(graph: TowerGraph) -> Node:
    """tools/mtmd/models/llama4.cpp: patches are unrolled in 32 bits."""
    tower, count, rows = graph.tower, graph.image.patches, _embeddings(graph)
    unrolled = graph.new((FLOAT, 3 * tower.patch**2, count), graph.graph.weights, graph.pixels())
    inp = graph.new((FLOAT, tower.embedding, count), graph.graph.weights, unrolled)
    whole = graph.like(graph.new(graph.residual, graph.view(inp), graph.graph.weights), graph.graph.weights)
    state = _Layers(graph, _halves(graph, "columns", "lines")).all(_flat(graph, whole))
    layout = (FLOAT, tower.embedding * tower.merge**2, rows)
    state = graph.new(layout, graph.turned(graph.view(state), *layout, 1))
    for name in ("mm.model.mlp.1", "mm.model.mlp.2"):
        state = graph.like(graph.new((FLOAT, tower.rows(f"{name}.weight"), rows), graph.graph.weights, state))
    return graph.new((FLOAT, tower.embedded, rows), graph.graph.weights, state)


_BUILDERS: Mapping[Kind, Callable[[TowerGraph], Node]] = {
    Kind.GEMMA_3: _siglip,
    Kind.GEMMA_4: _gemma_4,
    Kind.IDEFICS_3: _siglip,
    Kind.INTERN_VL: _intern_vl,
    Kind.GLM_4V: _glm_4v,
    Kind.KIMI_VL: _kimi_vl,
    Kind.LFM_2: _siglip,
    Kind.LLAMA_4: _llama_4,
    Kind.PIXTRAL: _pixtral,
    Kind.QWEN_2_VL: _qwen,
    Kind.QWEN_2_5_VL: _qwen,
    Kind.QWEN_3_VL: _qwen_3,
}
