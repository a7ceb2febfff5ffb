"""What memory depends on in a GGUF model: its layers, one by one, and the sizes they share.

src/llama-model.cpp, load_hparams, and load_arch_hparams of the architecture's class, b10435.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from compiler.engines.llama_cpp.models.architectures import ARCHITECTURES, Architecture, Pattern, Recurrence, Window
from compiler.engines.llama_cpp.models.keys import MOST_EXPERTS, MOST_LAYERS, Keys, ModelError
from compiler.engines.llama_cpp.settings import Pooling
from compiler.gguf.model import GgufModel

_MOST_NAME = 40
_FLOAT = 4


class Attention(StrEnum):
    """What a layer caches: all tokens, those of a window, a latent of all, what an earlier layer caches, or nothing.

    An encoder's layer attends to the tokens of its batch, all or those of a window, and caches nothing.
    """

    FULL = "full"
    WINDOW = "window"
    LATENT = "latent"
    SHARED = "shared"
    BATCH = "batch"
    BATCH_WINDOW = "window of the batch"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer.

    Attributes:
        is_recurrent: it keeps a state of each sequence, perhaps beside attention.
        heads: of queries; `kv_heads` of keys and values.
        key_length: elements of a head's key, `value_length` of its value, as they are cached.
        feed_forward: width of the FFN.
    """

    attention: Attention
    is_recurrent: bool
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    feed_forward: int

    @property
    def key_width(self) -> int:
        """Elements of keys that a token adds to the cache."""
        return self.kv_heads * self.key_length

    @property
    def value_width(self) -> int:
        """Elements of values likewise; a latent holds both in one."""
        return 0 if self.attention is Attention.LATENT else self.kv_heads * self.value_length

    @property
    def is_windowed(self) -> bool:
        """Whether it attends to a window, which has a cache and a mask of its own."""
        return self.attention in (Attention.WINDOW, Attention.BATCH_WINDOW)

    @property
    def has_cache(self) -> bool:
        """Whether it caches keys of its own."""
        return self.attention in (Attention.FULL, Attention.WINDOW, Attention.LATENT)

    @property
    def attends_to_batch(self) -> bool:
        """Whether it reads keys and values as they are computed."""
        return self.attention in (Attention.BATCH, Attention.BATCH_WINDOW)


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: how many there are, how many a token uses, and how wide one is. Zeros for none."""

    count: int
    used: int
    feed_forward: int


@dataclass(frozen=True, slots=True)
class State:
    """What a recurrent layer keeps of a sequence, in elements of f32: of the convolution, and of the recurrence.

    Attributes:
        inner: width of the recurrence; `projected` with the groups' keys and queries. The compute graph's sizes.
    """

    convolution: int
    recurrence: int
    inner: int = 0
    projected: int = 0

    @property
    def bytes(self) -> int:
        """Of one sequence in one layer."""
        return (self.convolution + self.recurrence) * _FLOAT


@dataclass(frozen=True, slots=True)
class Shape:
    """A model without its tensors.

    Attributes:
        layers: all of them, those of multi-token prediction last.
        predicting: how many of them those are.
        latent_heads: lengths of a head's key and value before they are compressed; zeros for none.
        window: tokens; 0 without windows.
        stacked: layers from the first that an image adds to (`n_deepstack_layers`): there is room for it with any text.
        output: width of a vector of the model's.
        pooling: how it was trained to make one vector or score of a text; None where the header does not say.
    """

    architecture: Architecture
    layers: tuple[Layer, ...]
    predicting: int
    embedding: int
    vocabulary: int
    trained_context: int
    window: int
    experts: Experts
    state: State
    latent_heads: tuple[int, int]
    stacked: int
    output: int
    pooling: Pooling | None

    def __hash__(self) -> int:
        """Of what differs between models: what is worked out for a shape is looked up many times."""
        return hash((self.architecture.name, len(self.layers), self.embedding, self.vocabulary, self.trained_context))

    @property
    def main_layers(self) -> tuple[Layer, ...]:
        """The layers that are served: all but those of multi-token prediction."""
        return self.layers[: len(self.layers) - self.predicting]

    @property
    def is_latent(self) -> bool:
        """Whether attention is of the latent kind (MLA)."""
        return self.latent_heads != (0, 0)


def read_shape(model: GgufModel) -> Shape:
    """The shape that a header describes.

    Raises:
        ModelError: an architecture that is not known, or keys that llama.cpp would not load.
    """
    architecture = _architecture(model)
    keys = Keys(model, architecture.name)
    count = keys.count("block_count")
    predicting = keys.count("nextn_predict_layers", 0)
    if not predicting < count <= MOST_LAYERS:
        raise ModelError(f"{count} layers, {predicting} of them predicting: llama.cpp loads 1 to {MOST_LAYERS}")
    latent = (keys.count("attention.key_length_mla", 0), keys.count("attention.value_length_mla", 0))
    if (latent[0] == 0) != (latent[1] == 0):
        raise ModelError("only one of `attention.key_length_mla` and `attention.value_length_mla` is given")
    windowed, window = _window(keys, architecture.window, count, predicting)
    shape = Shape(
        architecture=architecture,
        layers=_layers(keys, architecture, windowed, predicting, is_latent=latent != (0, 0)),
        predicting=predicting,
        embedding=_positive(keys, "embedding_length"),
        vocabulary=model.vocabulary or keys.count("vocab_size"),
        trained_context=_positive(keys, "context_length"),
        window=window,
        experts=_experts(keys),
        state=_state(keys, architecture),
        latent_heads=latent,
        stacked=keys.count("n_deepstack_layers", 0) if architecture.stacks_images else 0,
        output=keys.count("embedding_length_out", 0) or keys.count("embedding_length"),
        pooling=_POOLING.get(keys.count("pooling_type", 0)),
    )
    return _shared(shape)


@lru_cache(maxsize=256)
def _shared(shape: Shape) -> Shape:
    """One object for equal shapes, as quantizations of one model have: it is then found without comparing layers."""
    return shape


# enum llama_pooling_type (include/llama.h, b10435); 0 is none.
_POOLING = {1: Pooling.MEAN, 2: Pooling.CLS, 3: Pooling.LAST, 4: Pooling.RANK}


def _architecture(model: GgufModel) -> Architecture:
    name = model.keys.get("general.architecture")
    if not isinstance(name, str):
        raise ModelError("the header lacks `general.architecture`")
    if name not in ARCHITECTURES:
        raise ModelError(f"how `{name[:_MOST_NAME]}` uses memory is not known")
    return ARCHITECTURES[name]


def _positive(keys: Keys, name: str) -> int:
    value = keys.count(name)
    if value == 0:
        raise ModelError(f"`{keys.architecture}.{name}` is 0")
    return value


def _layers(
    keys: Keys, architecture: Architecture, windowed: tuple[bool, ...], predicting: int, *, is_latent: bool
) -> tuple[Layer, ...]:
    count = len(windowed)
    heads = keys.per_layer("attention.head_count", count, 0)
    kv_heads = keys.per_layer("attention.head_count_kv", count, heads)
    feed_forward = keys.per_layer("feed_forward_length", count, 0)
    recurrent = _recurrent(keys, architecture, kv_heads, feed_forward, predicting)
    attending = _attending(architecture, recurrent, feed_forward)
    owning = _owning(keys, architecture, count)
    # The first layer's heads, as llama.cpp has it: hparams.n_head() is n_head(0).
    head = keys.count("embedding_length") // heads[0] if heads[0] else 0
    key, value = keys.count("attention.key_length", head), keys.count("attention.value_length", head)
    if is_latent and key <= value:
        raise ModelError(f"keys of {key} hold no latent of {value} and what is rotated")
    short = keys.count("attention.key_length_swa", key), keys.count("attention.value_length_swa", value)
    layers = []
    for i in range(count):
        kind = _kind(is_attending=attending[i], is_owning=i < owning, is_windowed=windowed[i], is_latent=is_latent)
        if architecture.is_encoder:
            kind = Attention.BATCH_WINDOW if windowed[i] else Attention.BATCH
        lengths = short if windowed[i] else (key, value)
        layers.append(Layer(kind, recurrent[i], heads[i], kv_heads[i], *lengths, feed_forward[i]))
    return tuple(layers)


def _kind(*, is_attending: bool, is_owning: bool, is_windowed: bool, is_latent: bool) -> Attention:
    if not is_attending:
        return Attention.NONE
    if not is_owning:
        return Attention.SHARED
    if is_windowed:
        return Attention.WINDOW
    return Attention.LATENT if is_latent else Attention.FULL


def _owning(keys: Keys, architecture: Architecture, count: int) -> int:
    """Layers from the first that have a cache of their own."""
    if architecture.own_cache_layers is not None:
        return architecture.own_cache_layers
    shared = keys.count("attention.shared_kv_layers", 0)
    if shared >= count:
        raise ModelError(f"{shared} of {count} layers share the cache of another")
    return count - shared


def _window(keys: Keys, rule: Window | None, count: int, predicting: int) -> tuple[tuple[bool, ...], int]:
    """Which layers attend to a window, and its tokens."""
    none = (False,) * count, 0
    main = count - predicting
    if rule is None or (rule.layers is not None and rule.layers != main):
        return none
    if rule.default == 0 and not keys.has("attention.sliding_window"):
        raise ModelError(f"the header lacks `{keys.architecture}.attention.sliding_window`")
    tokens = keys.count("attention.sliding_window", rule.default or 0)
    if tokens == 0:
        return none
    name = "attention.sliding_window_pattern"
    if rule.pattern is Pattern.LIST or (rule.pattern is Pattern.EITHER and keys.length(name) is not None):
        return _listed(keys, name, count, main), rule.fixed or tokens
    period = rule.period if keys.length(name) is not None else keys.count(name, rule.period)
    return tuple(
        i < main and _in_window(i, period, full_first=rule.full_first) for i in range(count)
    ), rule.fixed or tokens


def _listed(keys: Keys, name: str, count: int, main: int) -> tuple[bool, ...]:
    """A list of windows may leave out the layers that predict, which have none then."""
    length = main if keys.length(name) == main else count
    listed = tuple(bool(each) for each in keys.per_layer(name, length))
    return listed + (False,) * (count - length)


def _in_window(layer: int, period: int, *, full_first: bool) -> bool:
    if period == 0:
        return True
    return layer % period != 0 if full_first else layer % period < period - 1


def _recurrent(
    keys: Keys,
    architecture: Architecture,
    kv_heads: tuple[int, ...],
    feed_forward: tuple[int, ...],
    predicting: int,
) -> tuple[bool, ...]:
    count = len(kv_heads)
    main = count - predicting
    match architecture.recurrence:
        case Recurrence.NEVER:
            return (False,) * count
        case Recurrence.EVERY_LAYER | Recurrence.BESIDE_ATTENTION:
            return (True,) * count
        case Recurrence.WITHOUT_KV_HEADS:
            return tuple(i < main and kv_heads[i] == 0 for i in range(count))
        case Recurrence.WITHOUT_KV_HEADS_OR_FEED_FORWARD:
            return tuple(i < main and kv_heads[i] == 0 and feed_forward[i] == 0 for i in range(count))
        case Recurrence.BETWEEN_FULL_LAYERS:
            return _between_full(keys, count, main)


def _between_full(keys: Keys, count: int, main: int) -> tuple[bool, ...]:
    if keys.has("attention.recurrent_layers"):
        return tuple(bool(each) for each in keys.per_layer("attention.recurrent_layers", count))
    interval = keys.count("full_attention_interval", 4)
    if interval == 0:
        raise ModelError(f"`{keys.architecture}.full_attention_interval` is 0")
    return tuple(i < main and (i + 1) % interval != 0 for i in range(count))


def _attending(
    architecture: Architecture, recurrent: tuple[bool, ...], feed_forward: tuple[int, ...]
) -> tuple[bool, ...]:
    match architecture.recurrence:
        case Recurrence.BESIDE_ATTENTION:
            return recurrent
        case Recurrence.WITHOUT_KV_HEADS_OR_FEED_FORWARD:
            pairs = zip(recurrent, feed_forward, strict=True)
            return tuple(not state and width == 0 for state, width in pairs)
        case _:
            return tuple(not state for state in recurrent)


def _experts(keys: Keys) -> Experts:
    count, used = keys.count("expert_count", 0), keys.count("expert_used_count", 0)
    if used > count or count > MOST_EXPERTS or (count and not used):
        raise ModelError(f"{used} of {count} experts are used")
    width = keys.count("expert_feed_forward_length", 0)
    if count and not width:
        width = keys.per_layer("feed_forward_length", keys.count("block_count"), 0)[0]
    return Experts(count, used, width)


def _state(keys: Keys, architecture: Architecture) -> State:
    """n_embd_r and n_embd_s of src/llama-hparams.cpp."""
    if not architecture.is_recurrent:
        return State(0, 0)
    short = keys.count("shortconv.l_cache", 0)
    if short:
        return State(keys.count("embedding_length") * (short - 1), 0)
    kernel, inner = keys.count("ssm.conv_kernel", 0), keys.count("ssm.inner_size", 0)
    size, groups = keys.count("ssm.state_size", 0), keys.count("ssm.group_count", 0)
    projected = inner + 2 * groups * size
    return State(max(kernel - 1, 0) * projected, size * inner, inner, projected)
