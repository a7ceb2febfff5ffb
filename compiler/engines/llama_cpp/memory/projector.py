"""A projector of images (`--mmproj`): its weights and its compute lie on the first card, or all of it on the host.

tools/mtmd/clip.cpp, b10435. As it starts, a server reserves memory for an image of one size; a larger one that comes
later makes it give that back and take more, up to the largest that it lets pass. So the ledger holds the largest: an
image that finds no memory ends the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from compiler.engines.llama_cpp.memory.graphs.tower import Image
from compiler.engines.llama_cpp.memory.graphs.towers import TowerBytes, tower_bytes
from compiler.engines.llama_cpp.memory.units import HOST_ALIGNMENT, cuda_bytes, padded
from compiler.engines.llama_cpp.models.tower import TILE, Kind, Tower, read_tower
from compiler.engines.llama_cpp.settings import SettingsError
from compiler.gguf.model import GgufModel
from compiler.units import MIB, ByteRange

_SHARE, _OF = 3, 4
"""Of a slot's context, one image takes no more: its question and its answer need some too."""
_HALF, _FLOAT, _CHANNELS = 2, 4, 3
_WORKSPACE = 32 * MIB
"""Of cuBLAS, which a projector has its own of; NVIDIA's manual says 32 MiB for Hopper and 4 for others."""
_READ_PIXELS = 16_000_000
"""Of a photograph as clients send it, before it is made smaller: an estimate, which nothing bounds."""


@dataclass(frozen=True, slots=True, eq=False)
class Projector:
    """A projector as memory sees it. Compared by identity, as its tower is.

    Attributes:
        card: bytes of its weights on a card; `host` on the host.
    """

    tower: Tower
    card: int
    host: int


@dataclass(frozen=True, slots=True)
class Sight:
    """A projector as it is served: tokens of the largest image, and slots that may each read one."""

    projector: Projector
    tokens: int
    slots: int


def read_projector(model: GgufModel) -> Projector:
    """What plans of a projector need of its header: all its tensors are in one buffer (load_tensors, b10435).

    Raises:
        ModelError: see `read_tower`.
    """
    tower = read_tower(model)
    card = sum(cuda_bytes(each.type, each.shape[0], each.bytes) for each in model.tensors)
    return Projector(tower, card, sum(padded(each.bytes, HOST_ALIGNMENT) for each in model.tensors))


def image_tokens(tower: Tower, slot: int, step: int, asked: int | None) -> int:
    """Tokens of the largest image that is let pass.

    Args:
        slot: tokens of a slot's context.
        step: tokens that the model computes at once.
        asked: by the spec, of a tower whose images keep their form.

    Raises:
        SettingsError: the least image is larger than that.
    """
    room = _SHARE * slot // _OF
    if not tower.limits.is_causal:
        room = min(room, step)
    most = min(asked or tower.most_tokens, room) if tower.is_dynamic else tower.most_tokens
    least = tower.limits.least if tower.is_dynamic else most
    if not least <= most <= room:
        why = f"{_SHARE}/{_OF} of its {slot} tokens of context are {_SHARE * slot // _OF}"
        step_why = f", and one of a step, in which this model reads it whole, {step}" * (not tower.limits.is_causal)
        raise SettingsError(f"an image takes at least {least} tokens: {why}{step_why}")
    return most


def compute(sight: Sight, *, on_card: bool = True) -> ByteRange:
    """Its compute buffer on the device that it lies on: that of the start, and that of the largest image."""
    first, largest = _first(sight).device, tower_bytes(sight.projector.tower, _image(sight, on_card=on_card)).device
    return ByteRange(first, max(first, largest), max(first, largest))


def inputs(sight: Sight) -> ByteRange:
    """What the host keeps beside a card: pixels, positions and masks, before they are copied."""
    first, largest = _first(sight).inputs, tower_bytes(sight.projector.tower, _image(sight)).inputs
    return ByteRange(first, max(first, largest), max(first, largest))


def temporaries(sight: Sight, *, on_card: bool = True) -> ByteRange:
    """CUDA's pool and cuBLAS's workspace, which a projector does not share with its model; of a processor, its work.

    Weights of 16 bits are multiplied in that form: there is room for what is multiplied and what comes out, 2 bytes
    each (ggml/src/ggml-cuda/ggml-cuda.cu, ggml_cuda_op_mul_mat_cublas; ggml/src/ggml-cpu/ggml-cpu.c, ggml_graph_plan,
    b10435).
    """
    tower = sight.projector.tower
    up = tower.tensors["ffn_up.weight"].shape
    size = _HALF * (up[0] + up[-1]) * max(_image(sight).patches, tower.warm_up_patches)
    return ByteRange(0, size, 2 * size + (_WORKSPACE if on_card else 0))


def pictures(sight: Sight) -> ByteRange:
    """Images of all slots at once on the host: as bytes before they are made smaller, as floats after, and embedded."""
    tower = sight.projector.tower
    pixels = _image(sight).patches * tower.patch**2
    most = sight.slots * (_CHANNELS * (_FLOAT * pixels + 2 * _READ_PIXELS) + _FLOAT * sight.tokens * tower.embedded)
    return ByteRange(0, most // 2, most)


def _first(sight: Sight) -> TowerBytes:
    """Of the image with which a server starts."""
    tower = sight.projector.tower
    side = tower.warm_up_side
    if tower.limits.warm_up is None and tower.is_dynamic:
        side = isqrt(sight.tokens * (tower.patch * tower.merge) ** 2) // tower.patch
    return tower_bytes(tower, Image(side**2, side // tower.merge))


def _image(sight: Sight, *, on_card: bool = True) -> Image:
    """The largest; of one that is one column wide, each embedding is a row."""
    tower = sight.projector.tower
    patches = sight.tokens * tower.merge**2 if tower.is_dynamic else tower.warm_up_patches
    if tower.kind is Kind.LFM_2:
        patches = max(patches, (TILE // tower.patch) ** 2)
    frames = 2 if tower.kind in (Kind.QWEN_2_VL, Kind.QWEN_2_5_VL, Kind.QWEN_3_VL) else 1
    return Image(patches, -(-patches // tower.merge**2), frames, is_copied=on_card)
