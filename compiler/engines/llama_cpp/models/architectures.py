"""Architectures of llama.cpp whose memory follows rules that were read in its source (src/models/*.cpp, b10435).

An architecture that is not here is refused: its cache is of a kind of its own (`deepseek32`, `deepseek4`, `glm-dsa`,
`minimax-m3`), it has none (diffusion), it is a part of another model (`eagle3`, `dflash`), or it changes its
layers while it loads (`nanbeige`, `graniteswitch`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto


class Pattern(Enum):
    """How `attention.sliding_window_pattern` is read: a period, a list with a value a layer, or either."""

    PERIOD = auto()
    LIST = auto()
    EITHER = auto()


@dataclass(frozen=True, slots=True)
class Window:
    """Which layers attend to a window only.

    Attributes:
        period: of so many layers the last is full, where the header has no pattern; 0 where the pattern must be there.
        full_first: the first of a period is the full one, not the last.
        pattern: how the header's pattern is read.
        default: tokens of the window where the header does not say; 0 where it must, None for no window then.
        fixed: tokens of the window whatever the header says, if it does not say 0.
        layers: only a model of so many layers has windows; None for all.
    """

    period: int
    full_first: bool = False
    pattern: Pattern = Pattern.PERIOD
    default: int | None = None
    fixed: int | None = None
    layers: int | None = None


class Recurrence(Enum):
    """Which layers keep a recurrent state, and which of those attend as well."""

    NEVER = auto()
    EVERY_LAYER = auto()
    BESIDE_ATTENTION = auto()
    WITHOUT_KV_HEADS = auto()
    WITHOUT_KV_HEADS_OR_FEED_FORWARD = auto()
    BETWEEN_FULL_LAYERS = auto()


class Rotation(Enum):
    """Which layers rotate queries and keys by position."""

    ALWAYS = auto()
    NEVER = auto()
    NOT_EVERY_FOURTH = auto()
    IN_WINDOWS = auto()


class Graph(Enum):
    """How well a compute graph is known.

    Laid out as its class was read, and compared with what a server planned; read, and not compared; laid out like its
    kin; not laid out at all.
    """

    EXACT = auto()
    READ = auto()
    BOUNDED = auto()
    YARDSTICK = auto()


@dataclass(frozen=True, slots=True)
class Architecture:
    """What llama.cpp's class of a `general.architecture` does with memory.

    Attributes:
        name: as the header has it.
        source: file below src/models/ of llama.cpp.
        window: None where every layer attends to everything.
        is_parallel: attention and FFN read the same input, side by side.
        own_cache_layers: layers from the first that have a cache of their own; None where the header says.
        centers_norms: norms subtract the mean (LLM_NORM), and do not overwrite their operand.
        gates_queries: a gate comes with the queries, as wide as they are.
        positions: of a token: three-dimensional rotation needs four (LLAMA_ROPE_TYPE_MROPE, _IMROPE).
        adds_to_residual: what a layer computes is the second operand where the residual takes it up.
        repeats_heads: delta nets repeat queries and keys until there are as many heads as values have.
        scales_embeddings: b11434 scales tokens' embeddings by an input of the graph.
        norms_values: values are normed before they are cached.
        stacks_images: what an image adds to the first layers comes with the embeddings.
        is_encoder: all tokens of a text see each other, and nothing is cached.
        norms_after: norms come after attention and after the FFN, on what the residual was added to.
        norms_embeddings: what the first layer gets is normed, by a weight that lies with that layer.
        types_tokens: each token's embedding has that of its type added, `places_tokens` that of its place.
        ties_output: without a matrix of its own for logits, it loads that of embeddings once more.
        ranks_by_mean: a score is made of the mean of all tokens.
        weighs_chosen: experts' shares are those among the chosen; `sums_shares` makes shares of all add up to one.
    """

    name: str
    source: str
    graph: Graph = Graph.BOUNDED
    window: Window | None = None
    recurrence: Recurrence = Recurrence.NEVER
    is_parallel: bool = False
    own_cache_layers: int | None = None
    rotation: Rotation = Rotation.ALWAYS
    centers_norms: bool = False
    gates_queries: bool = False
    positions: int = 1
    adds_to_residual: bool = False
    repeats_heads: bool = False
    scales_embeddings: bool = False
    norms_values: bool = False
    stacks_images: bool = False
    is_encoder: bool = False
    norms_after: bool = False
    norms_embeddings: bool = False
    types_tokens: bool = False
    places_tokens: bool = False
    ties_output: bool = True
    ranks_by_mean: bool = False
    weighs_chosen: bool = False
    sums_shares: bool = True

    @property
    def is_recurrent(self) -> bool:
        """Whether any layer keeps a state."""
        return self.recurrence is not Recurrence.NEVER


_FILES = {
    "deepseek2-ocr": "deepseek2ocr.cpp",
    "ernie4_5": "ernie4-5.cpp",
    "ernie4_5-moe": "ernie4-5-moe.cpp",
    "glm4moe": "glm4-moe.cpp",
    "gpt-oss": "openai-moe.cpp",
    "granitehybrid": "granite-hybrid.cpp",
    "granitemoe": "granite-moe.cpp",
    "pangu-embedded": "pangu-embed.cpp",
}


def _source(name: str) -> str:
    return _FILES.get(name, f"{name.replace('_', '-')}.cpp")


def _plain(*names: str, graph: Graph = Graph.BOUNDED) -> tuple[Architecture, ...]:
    return tuple(Architecture(name, _source(name), graph) for name in names)


def _windowed(name: str, window: Window, graph: Graph = Graph.BOUNDED) -> Architecture:
    return Architecture(name, _source(name), graph, window)


def _stateful(name: str, recurrence: Recurrence, graph: Graph = Graph.YARDSTICK) -> Architecture:
    return Architecture(name, _source(name), graph, recurrence=recurrence)


_EXACT = _plain(
    "llama", "qwen2", "qwen3", "qwen3moe", "phi3", "granite", "smollm3", "seed_oss", "starcoder2", "deepseek2",
    "qwen2vl",
    "glm4moe", "minimax-m2",
    graph=Graph.EXACT,
)  # fmt: skip

_READ = _plain("qwen3vl", "qwen3vlmoe", graph=Graph.READ)

_ATTENDING = _plain(
    "deci", "grok", "baichuan", "starcoder", "refact", "bloom", "qwen", "qwen2moe",
    "phimoe", "plamo", "orion", "internlm2", "minicpm", "minicpm3", "gemma", "xverse", "dbrx", "olmo", "olmoe",
    "openelm", "arctic", "deepseek", "deepseek2-ocr", "chatglm", "glm4", "bitnet", "jais", "jais2", "nemotron",
    "exaone", "granitemoe", "chameleon", "plm", "bailingmoe", "bailingmoe2", "dots1", "arcee", "ernie4_5",
    "ernie4_5-moe", "hunyuan-moe", "hunyuan-dense", "hunyuan_vl", "hy_v3", "grovemoe", "apertus", "pangu-embedded",
    "mistral3", "mistral4", "maincoder", "paddleocr", "mpt", "gpt2", "codeshell",
)  # fmt: skip

_PARALLEL = tuple(
    replace(architecture, is_parallel=True)
    for architecture in _plain("command-r", "falcon", "gptneox", "phi2", "stablelm")
)

_WINDOWED = (
    _windowed("gemma2", Window(2, default=4096), Graph.EXACT),
    _windowed("gemma3", Window(6), Graph.EXACT),
    replace(_windowed("gemma3n", Window(5, default=0)), own_cache_layers=20),
    _windowed("gemma4", Window(0, pattern=Pattern.LIST, default=0), Graph.EXACT),
    replace(_windowed("cohere2", Window(4, default=0), Graph.EXACT), is_parallel=True),
    _windowed("cohere2moe", Window(4, full_first=True, pattern=Pattern.EITHER, default=0)),
    _windowed("olmo2", Window(4), Graph.EXACT),
    _windowed("gpt-oss", Window(2, default=0), Graph.EXACT),
    _windowed("llama4", Window(4, default=8192, fixed=8192)),
    _windowed("smallthinker", Window(4, full_first=True, fixed=4096)),
    _windowed("exaone4", Window(4, default=4096, layers=64)),
    _windowed("exaone-moe", Window(4, default=128)),
    _windowed("plamo3", Window(8)),
    _windowed("afmoe", Window(4)),
    _windowed("laguna", Window(4, full_first=True)),
    _windowed("mellum", Window(4, pattern=Pattern.EITHER)),
    _windowed("muse-glimmer", Window(4, pattern=Pattern.EITHER, default=0)),
    _windowed("mimo2", Window(0, pattern=Pattern.LIST, default=0)),
    _windowed("step35", Window(0, pattern=Pattern.LIST, default=0)),
)

_STATEFUL = (
    _stateful("mamba", Recurrence.EVERY_LAYER),
    _stateful("mamba2", Recurrence.EVERY_LAYER, Graph.READ),
    _stateful("falcon-h1", Recurrence.BESIDE_ATTENTION, Graph.EXACT),
    _stateful("jamba", Recurrence.WITHOUT_KV_HEADS),
    _stateful("granitehybrid", Recurrence.WITHOUT_KV_HEADS),
    _stateful("plamo2", Recurrence.WITHOUT_KV_HEADS),
    _stateful("lfm2", Recurrence.WITHOUT_KV_HEADS, Graph.EXACT),
    _stateful("lfm2moe", Recurrence.WITHOUT_KV_HEADS, Graph.READ),
    _stateful("nemotron_h", Recurrence.WITHOUT_KV_HEADS_OR_FEED_FORWARD, Graph.READ),
    _stateful("nemotron_h_moe", Recurrence.WITHOUT_KV_HEADS_OR_FEED_FORWARD),
    _stateful("qwen3next", Recurrence.BETWEEN_FULL_LAYERS, Graph.EXACT),
    _stateful("qwen35", Recurrence.BETWEEN_FULL_LAYERS, Graph.EXACT),
    _stateful("qwen35moe", Recurrence.BETWEEN_FULL_LAYERS, Graph.EXACT),
)

_ENCODERS = (
    *(
        Architecture(name, _source(name), Graph.EXACT, is_encoder=True, norms_after=True, types_tokens=True)
        for name in ("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3")
    ),
    *(
        replace(each, is_encoder=True)
        for each in (
            *_plain("neo-bert", "eurobert", graph=Graph.EXACT),
            _windowed("modern-bert", Window(3, full_first=True), Graph.EXACT),
            _windowed("gemma-embedding", Window(6, default=0), Graph.EXACT),
        )
    ),
)
"""Those of create_memory (src/llama-model.cpp) without a memory that make vectors of texts."""

_CENTERED = frozenset(
    {
        "bloom", "chameleon", "codeshell", "cohere2", "command-r", "dbrx", "falcon", "gpt2", "gptneox", "jais", "jais2",
        "mpt", "nemotron", "olmo", "orion", "phi2", "phimoe", "stablelm", "starcoder", "starcoder2",
        "bert", "jina-bert-v2", "jina-bert-v3", "modern-bert", "nomic-bert", "nomic-bert-moe",
    }
)  # fmt: skip
_ROTATIONS = {
    "bert": Rotation.NEVER, "jina-bert-v2": Rotation.NEVER, "nemotron_h": Rotation.NEVER,
    "smollm3": Rotation.NOT_EVERY_FOURTH, "cohere2": Rotation.IN_WINDOWS,
}  # fmt: skip
_POSITIONS = {"qwen35": 4, "qwen35moe": 4, "qwen2vl": 4, "qwen3vl": 4, "qwen3vlmoe": 4}
_SCALED = frozenset({"gemma3", "gemma3n", "gemma4", "gemma-embedding"})
_UNSUMMED = frozenset({"deepseek2", "nomic-bert-moe"})


def _refined(each: Architecture) -> Architecture:
    return replace(
        each,
        rotation=_ROTATIONS.get(each.name, Rotation.ALWAYS),
        centers_norms=each.name in _CENTERED,
        places_tokens=each.name == "bert",
        stacks_images=each.name in ("qwen3vl", "qwen3vlmoe"),
        norms_embeddings=each.norms_after or each.name == "modern-bert",
        ties_output=not each.is_encoder or each.name == "gemma-embedding",
        ranks_by_mean=each.name == "modern-bert",
        gates_queries=each.recurrence is Recurrence.BETWEEN_FULL_LAYERS,
        positions=_POSITIONS.get(each.name, 1),
        adds_to_residual=each.name in ("lfm2", "lfm2moe"),
        repeats_heads=each.name == "qwen3next",
        scales_embeddings=each.name in _SCALED,
        norms_values=each.name == "gemma4",
        weighs_chosen=each.name == "gpt-oss",
        sums_shares=each.name not in _UNSUMMED,
    )


ARCHITECTURES = {
    each.name: _refined(each) for each in (*_EXACT, *_READ, *_ATTENDING, *_PARALLEL, *_WINDOWED, *_STATEFUL, *_ENCODERS)
}
"""By `general.architecture`."""
