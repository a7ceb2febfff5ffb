"""What memory depends on in a projector: the tower that reads images, and what brings them to the model's width.

tools/mtmd/clip.cpp, load_hparams and load_tensors, b10435. Towers of other kinds are refused, and so are projectors
that read sounds: their graphs are others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isqrt

from compiler.engines.llama_cpp.models.keys import MOST_LAYERS, Keys, ModelError
from compiler.gguf.model import GgufModel, Tensor, Value

MOST_IMAGE = 65536
"""Pixels of a side, and of a patch's side (tools/mtmd/clip.cpp, load_hparams, b10435)."""
_MOST_NAME = 40


class Kind(StrEnum):
    """`clip.projector_type`: how a tower's patches become the model's embeddings."""

    GEMMA_3 = "gemma3"
    GEMMA_4 = "gemma4v"
    GLM_4V = "glm4v"
    IDEFICS_3 = "idefics3"
    INTERN_VL = "internvl"
    KIMI_VL = "kimivl"
    LFM_2 = "lfm2"
    LLAMA_4 = "llama4"
    PIXTRAL = "pixtral"
    QWEN_2_VL = "qwen2vl_merger"
    QWEN_2_5_VL = "qwen2.5vl_merger"
    QWEN_3_VL = "qwen3vl_merger"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one kind of tower (tools/mtmd/clip.cpp, load_hparams, b10435).

    Attributes:
        merge: patches of a side that become one embedding, where the header's `key` does not say.
        most: tokens of the largest image; None of towers that see every image, or each tile of it, in one size.
        least: of the smallest, to which smaller ones are made larger.
        warm_up: tokens of a side of the image with which a server reserves memory; None for the largest.
        is_causal: the model reads an image as text, in parts, and need not have it in one step.
    """

    merge: int
    key: str
    most: int | None = None
    least: int = 1
    warm_up: int | None = None
    is_causal: bool = True


_SCALE, _MERGE = "vision.projector.scale_factor", "vision.spatial_merge_size"
LIMITS: Mapping[Kind, Limits] = {
    Kind.GEMMA_3: Limits(4, _SCALE, is_causal=False),
    Kind.GEMMA_4: Limits(3, _SCALE, 280, 40, 16, is_causal=False),
    Kind.GLM_4V: Limits(2, _MERGE, 4096, 8, 46),
    Kind.IDEFICS_3: Limits(1, _SCALE),
    Kind.INTERN_VL: Limits(1, _SCALE),
    Kind.KIMI_VL: Limits(1, _SCALE, 1024, 8, 16),
    Kind.LLAMA_4: Limits(1, _SCALE),
    Kind.LFM_2: Limits(1, _SCALE, 256, 64),
    Kind.PIXTRAL: Limits(1, _MERGE, 1024, 8, 16),
    Kind.QWEN_2_VL: Limits(2, _MERGE, 4096, 8, 46),
    Kind.QWEN_2_5_VL: Limits(2, _MERGE, 4096, 8, 46),
    Kind.QWEN_3_VL: Limits(2, _MERGE, 4096, 8, 46),
}
TILE = 512
"""Pixels of a side of LFM2's tiles (tools/mtmd/mtmd-image.h, mtmd_image_preprocessor_lfm2, b10435)."""


_OF_LAYER = re.compile(r"v\.blk\.(?P<layer>0|[1-9][0-9]{0,2})\.(?P<name>.+\.(?:weight|bias))", re.ASCII)
_DEEP = re.compile(r"v\.deepstack\.(?P<layer>0|[1-9][0-9]{0,2})\.(?P<name>.+)", re.ASCII)
_EMBEDDED: Mapping[Kind, tuple[str, int]] = {
    Kind.GEMMA_3: ("mm.input_projection.weight", 0),
    Kind.GEMMA_4: ("mm.input_projection.weight", -1),
    Kind.GLM_4V: ("mm.down.weight", -1),
    Kind.IDEFICS_3: ("mm.model.fc.weight", -1),
    Kind.INTERN_VL: ("mm.model.mlp.3.weight", -1),
    Kind.KIMI_VL: ("mm.2.weight", -1),
    Kind.LFM_2: ("mm.2.weight", -1),
    Kind.LLAMA_4: ("mm.model.fc.weight", -1),
    Kind.PIXTRAL: ("mm.2.weight", -1),
    Kind.QWEN_2_VL: ("mm.2.weight", -1),
    Kind.QWEN_2_5_VL: ("mm.2.weight", -1),
    Kind.QWEN_3_VL: ("mm.2.weight", -1),
}
"""The last matrix of each, and the dimension of what it makes (tools/mtmd/clip.cpp, clip_n_mmproj_embd, b10435)."""
_REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    Kind.GEMMA_3: ("v.position_embd.weight",),
    Kind.GEMMA_4: ("v.position_embd.weight",),
    Kind.IDEFICS_3: ("v.position_embd.weight",),
    Kind.INTERN_VL: ("v.position_embd.weight", "v.class_embd", "mm.model.mlp.1.weight"),
    Kind.GLM_4V: ("mm.patch_merger.weight", "mm.model.fc.weight", "mm.up.weight", "mm.gate.weight"),
    Kind.KIMI_VL: ("v.position_embd.weight", "mm.1.weight"),
    Kind.LFM_2: ("v.position_embd.weight", "mm.1.weight"),
    Kind.LLAMA_4: ("v.class_embd", "mm.model.mlp.1.weight", "mm.model.mlp.2.weight"),
    Kind.PIXTRAL: ("mm.1.weight", "v.token_embd.img_break"),
    Kind.QWEN_2_VL: ("mm.0.weight", "attn_q.weight"),
    Kind.QWEN_2_5_VL: ("mm.0.weight", "attn_q.weight"),
    Kind.QWEN_3_VL: ("mm.0.weight", "attn_qkv.weight", "v.position_embd.weight"),
}
_ALWAYS = ("v.patch_embd.weight", "attn_out.weight", "ffn_up.weight", "ffn_down.weight")


@dataclass(frozen=True, slots=True, eq=False)
class Tower:
    """A tower. Compared by identity: it is read once, and asked many times.

    Attributes:
        head: elements of a head.
        size: pixels of a side of an image, or of a tile; `patch` those of a patch's.
        merge: patches of a side that become one embedding.
        window: one layer of so many sees the whole image; 0 where all do.
        deep: layers whose outputs are embeddings too.
        embedded: elements of what the model gets for one embedding, of `deep` layers too.
        tensors: of no layer by their names, of the first layer by names without it, of the first of `deep` likewise
            after `deepstack.`.
    """

    kind: Kind
    layers: int
    embedding: int
    heads: int
    head: int
    size: int
    patch: int
    merge: int
    window: int
    deep: frozenset[int]
    embedded: int
    tensors: Mapping[str, Tensor]

    @property
    def limits(self) -> Limits:
        """Of its kind."""
        return LIMITS[self.kind]

    def has(self, name: str) -> bool:
        """Whether there is such a tensor; of a layer, in the first."""
        return name in self.tensors

    def rows(self, name: str) -> int:
        """Outputs of a matrix."""
        return self.tensors[name].shape[-1]

    @property
    def most_tokens(self) -> int:
        """Of the largest image that the engine lets pass by itself, or of a tile."""
        return self.limits.most or (self.size // self.patch // self.merge) ** 2

    @property
    def is_dynamic(self) -> bool:
        """Whether images keep their form, and `--image-max-tokens` bounds them."""
        return self.limits.most is not None

    @property
    def has_tiles(self) -> bool:
        """Whether an image that is larger than a tower's own is read in several parts, each with tokens of its own."""
        return self.kind in (Kind.IDEFICS_3, Kind.INTERN_VL, Kind.LFM_2, Kind.LLAMA_4)

    @property
    def warm_up_patches(self) -> int:
        """Of the image with which a server reserves memory as it starts."""
        return self.warm_up_side**2

    @property
    def warm_up_side(self) -> int:
        """Patches of a side of that image."""
        if self.limits.warm_up is not None:
            return self.limits.warm_up * self.merge
        if self.limits.most is not None:
            return isqrt(self.limits.most * (self.patch * self.merge) ** 2) // self.patch
        return self.size // self.patch


def read_tower(projector: GgufModel) -> Tower:
    """The tower of a projector.

    Raises:
        ModelError: it is of a kind that has no formulas here, reads sounds, or is no projector that llama.cpp loads.
    """
    keys = Keys(projector, "clip")
    kind = _kind(projector.keys)
    layers = keys.count("vision.block_count")
    if not 0 < layers <= MOST_LAYERS:
        raise ModelError(f"`clip.vision.block_count` is {layers}")
    size, patch, merge = _patches(keys, LIMITS[kind])
    embedding, heads = keys.count("vision.embedding_length"), keys.count("vision.attention.head_count")
    if min(embedding, heads) < 1:
        raise ModelError(f"its tower has {heads} heads of {embedding} elements together")
    if keys.count("vision.attention.head_count_kv", heads) != heads:
        raise ModelError("the heads of its tower share keys, for which there are no formulas")
    tensors, deep = _tensors(projector.tensors, layers)
    deep = deep if kind is Kind.QWEN_3_VL else frozenset()
    return Tower(
        kind=kind,
        layers=layers,
        embedding=embedding,
        heads=heads,
        head=keys.count("vision.attention.head_dim", 0) or embedding // heads,
        size=size,
        patch=patch,
        merge=merge,
        window=keys.count("vision.n_wa_pattern") if kind is Kind.QWEN_2_5_VL else 0,
        deep=deep,
        embedded=_embedded(kind, tensors) * (1 + len(deep)),
        tensors=tensors,
    )


def _patches(keys: Keys, limits: Limits) -> tuple[int, int, int]:
    """Pixels of a side of an image and of a patch, and patches of a side that become one embedding.

    Raises:
        ModelError: an image is no whole number of them.
    """
    size, patch = keys.count("vision.image_size"), keys.count("vision.patch_size")
    merge = keys.count(limits.key, limits.merge)
    if min(patch, merge) < 1 or max(size, patch, merge) > MOST_IMAGE:
        raise ModelError(f"its tower has patches of {patch} in {size} pixels, {merge} side by side")
    if limits.most is None and (size < patch * merge or (size // patch) % merge):
        raise ModelError(f"{size} pixels are no whole number of {merge} patches of {patch}")
    return size, patch, merge


def _kind(keys: Mapping[str, Value]) -> Kind:
    if keys.get("clip.has_audio_encoder") or keys.get("clip.has_gen_audio_encoder"):
        raise ModelError("it reads sounds too, for which there are no formulas")
    if not keys.get("clip.has_vision_encoder"):
        raise ModelError("it reads no images")
    name = keys.get("clip.projector_type") or keys.get("clip.vision.projector_type")
    try:
        return Kind(str(name))
    except ValueError:
        raise ModelError(f"there are no formulas for a projector of the type `{str(name)[:_MOST_NAME]}`") from None


def _tensors(tensors: Iterable[Tensor], layers: int) -> tuple[Mapping[str, Tensor], frozenset[int]]:
    """Those that `Tower.tensors` has, and the layers of `Tower.deep`.

    Raises:
        ModelError: its layers are not alike.
    """
    found: dict[str, Tensor] = {}
    counts: Counter[tuple[str, tuple[int, ...]]] = Counter()
    deep: set[int] = set()
    for tensor in tensors:
        if (match := _OF_LAYER.fullmatch(tensor.name)) is not None:
            counts[match["name"], tensor.shape] += 1
            found.setdefault(match["name"], tensor)
        elif (match := _DEEP.fullmatch(tensor.name)) is not None:
            deep |= {int(match["layer"])} if int(match["layer"]) < layers else set()
            found.setdefault(f"deepstack.{match['name']}", tensor)
        else:
            found[tensor.name] = tensor
    uneven = next((name for (name, _), count in counts.items() if count != layers), None)
    if uneven is not None:
        raise ModelError(f"`{uneven[:_MOST_NAME]}` is not alike in all {layers} layers of its tower")
    return found, frozenset(deep)


def _embedded(kind: Kind, tensors: Mapping[str, Tensor]) -> int:
    name, dimension = _EMBEDDED[kind]
    lacking = next((each for each in (*_ALWAYS, *_REQUIRED[kind], name) if each not in tensors), None)
    if lacking is not None:
        raise ModelError(f"its tower lacks `{lacking}`")
    if not any(each in tensors for each in ("attn_q.weight", "attn_qkv.weight")):
        raise ModelError("its tower lacks `attn_q.weight`")
    return tensors[name].shape[dimension]
