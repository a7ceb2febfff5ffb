"""What a projector takes: as the real server said of towers in the shapes of published models, and of any file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.engines.llama_cpp.calibrate.startup_log import hundredths_of
from compiler.engines.llama_cpp.memory.graphs.tower import Image
from compiler.engines.llama_cpp.memory.graphs.towers import tower_bytes
from compiler.engines.llama_cpp.memory.projector import (
    Sight,
    compute,
    image_tokens,
    inputs,
    pictures,
    read_projector,
    temporaries,
)
from compiler.engines.llama_cpp.models.keys import ModelError
from compiler.engines.llama_cpp.models.tower import read_tower
from compiler.engines.llama_cpp.settings import SettingsError
from compiler.gguf.model import GgufModel, Tensor, Value
from compiler.units import MIB
from tests.engines.llama_cpp.random_projectors import PROJECTORS, Size
from tests.gguf.writer import tensor

SIGLIP, SMALL = Size(27, 1152, 16, 4304, 14), Size(12, 768, 12, 3072, 16)
# The shape, patches of an image's side where they are fixed, and what b10434 reserved, in hundredths of a MiB: of a
# card with CUDA's rules (tests/engines/llama_cpp/server/fake_cards.cpp), and of the host beside it.
SAID = (
    ("gemma_3", SIGLIP, 64, 12125, 919),
    ("gemma_4", replace(SIGLIP, patch=16), None, 14050, 677),
    ("glm_4v", Size(24, 1536, 12, 4096, 14), None, 51505, 1911),
    ("idefics_3", SMALL, 32, 2100, 300),
    ("intern_vl", Size(24, 1024, 16, 4096, 14), 32, 2803, 230),
    ("kimi_vl", SIGLIP, None, 3262, 230),
    ("lfm_2", SMALL, None, 2100, 300),
    ("llama_4", Size(34, 1408, 22, 5632, 14), 24, 2299, 130),
    ("pixtral", Size(24, 1024, 16, 4096, 14), None, 6231, 230),
    ("qwen_2_vl", Size(32, 1280, 16, 5120, 14), None, 26708, 1911),
    ("qwen_2_5_vl", Size(32, 1280, 16, 3420, 14), None, 70479, 29241),
    ("qwen_3_vl", replace(SIGLIP, patch=16), None, 32249, 2493),
)


def projector(kind: str, size: Size, side: int | None = None) -> GgufModel:
    """With images of so many patches a side."""
    made = PROJECTORS[kind](size)
    if side is not None:
        made.set({"image_size": side * size.patch})
    model = made.model
    if side is None:
        return model
    places = side * side + (1 if kind in ("intern_vl", "llama_4") else 0)
    tensors = [
        Tensor(each.name, each.type, (size.width, places)) if each.name == "v.position_embd.weight" else each
        for each in model.tensors
    ]
    return replace(model, tensors=tensors)


@pytest.mark.parametrize(("kind", "size", "side", "card", "host"), SAID)
def test_a_tower_reserves_what_the_server_said(kind: str, size: Size, side: int | None, card: int, host: int) -> None:
    tower = read_tower(projector(kind, size, side))
    found = tower_bytes(tower, Image(tower.warm_up_patches, tower.warm_up_side // tower.merge))
    assert hundredths_of(found.device) == card
    assert abs(hundredths_of(found.inputs) - host) <= 1


def test_a_real_card_held_what_is_said() -> None:
    """1136.09 MiB, which a llama-server of August 2026 said of the projector of a 27B on an RTX 3090.

    https://github.com/ollama/ollama/issues/17482: its weights and what it reserves, on the card. The converter keeps
    the matrices of patches in 32 bits.
    """
    made = PROJECTORS["qwen_3_vl"](Size(27, 1152, 16, 4304, 16, 5120), deep=0).model
    tensors = [
        tensor(each.name, "f32", *((1152, 48 * 48) if "position" in each.name else each.shape))
        if each.name.startswith(("v.patch_embd", "v.position_embd"))
        else each
        for each in made.tensors
    ]
    read = read_projector(replace(made, tensors=tensors))
    assert hundredths_of(read.card + compute(Sight(read, 4096, 1)).low) == 113609


def sight(kind: str, slot: int, asked: int | None = None) -> Sight:
    """A projector of four small layers in slots of so many tokens."""
    read = read_projector(PROJECTORS[kind]().model)
    return Sight(read, image_tokens(read.tower, slot, 512, asked), 2)


@pytest.mark.parametrize("kind", PROJECTORS)
def test_a_larger_image_takes_no_less(kind: str) -> None:
    """And none takes less than the server reserves as it starts."""
    small, large = sight(kind, 2048), sight(kind, 32768)
    for figure in (compute, inputs, pictures, temporaries):
        assert figure(small).high <= figure(large).high
        assert figure(large).low <= figure(large).expected <= figure(large).high


def test_an_image_leaves_room_for_its_question() -> None:
    """A context that an image fills is one in which nothing can be asked of it; a model may have it in one step."""
    assert sight("qwen_2_5_vl", 2048).tokens == 1536
    assert sight("qwen_2_5_vl", 131072).tokens == 4096
    assert sight("qwen_2_5_vl", 131072, asked=1024).tokens == 1024
    assert sight("gemma_4", 131072).tokens == 280
    read = read_projector(PROJECTORS["gemma_4"]().model)
    assert image_tokens(read.tower, 4096, 128, None) == 128


@pytest.mark.parametrize(("kind", "slot", "step"), [("gemma_4", 4096, 32), ("lfm_2", 64, 512), ("intern_vl", 32, 512)])
def test_an_image_that_no_slot_or_step_holds_is_refused(kind: str, slot: int, step: int) -> None:
    """llama.cpp would end at the first one: of a model that reads it whole, a step must hold it."""
    tower = read_projector(PROJECTORS[kind]().model).tower
    with pytest.raises(SettingsError, match="an image takes at least"):
        image_tokens(tower, slot, step, None)


def test_the_windows_of_images_are_paid_for_by_the_square() -> None:
    """Qwen 2.5 VL's mask has an element for each pair of patches: an image of 4096 tokens takes more than a GiB."""
    read = read_projector(projector("qwen_2_5_vl", Size(32, 1280, 16, 3420, 14)))
    large, small = (compute(Sight(read, tokens, 1)).high for tokens in (4096, 1024))
    assert large > 1536 * MIB
    assert small == compute(Sight(read, 1024, 1)).low  # what the start reserves is for a larger one


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"clip.projector_type": "resampler"}, "no formulas for a projector of the type `resampler`"),
        ({"clip.has_audio_encoder": True}, "reads sounds too"),
        ({"clip.has_vision_encoder": False}, "reads no images"),
        ({"clip.vision.block_count": 5}, "is not alike in all 5 layers"),
        ({"clip.vision.block_count": 1 << 20}, "block_count"),
        ({"clip.vision.patch_size": 0}, "patches of 0"),
        ({"clip.vision.image_size": 1 << 20}, "in 1048576 pixels"),
        ({"clip.vision.image_size": 0}, "0 pixels are no whole number"),
        ({"clip.vision.image_size": 15 * 16}, "240 pixels are no whole number of 4 patches of 16"),
        ({"clip.vision.attention.head_count": 0}, "0 heads"),
        ({"clip.vision.attention.head_count_kv": 1}, "share keys"),
        ({"clip.vision.embedding_length": "x"}, "is no count"),
    ],
)
def test_what_has_no_formulas_is_refused(keys: dict[str, Value], said: str) -> None:
    model = PROJECTORS["gemma_3"]().model
    with pytest.raises(ModelError, match=said):
        read_tower(replace(model, keys={**model.keys, **keys}))


@pytest.mark.parametrize("name", ["v.patch_embd.weight", "mm.input_projection.weight", "v.position_embd.weight"])
def test_a_tower_that_lacks_a_part_is_refused(name: str) -> None:
    model = PROJECTORS["gemma_3"]().model
    with pytest.raises(ModelError, match=f"lacks `{name}`"):
        read_tower(replace(model, tensors=[each for each in model.tensors if each.name != name]))


_NAMES = sorted({key for make in PROJECTORS.values() for key in make().model.keys if key.startswith("clip.")})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PROJECTORS)), st.sampled_from(_NAMES), st.data())
def test_any_value_of_any_key_is_an_error_or_a_plan(kind: str, name: str, data: st.DataObject) -> None:
    values = st.one_of(st.integers(-(2**63), 2**64), st.booleans(), st.text(max_size=4), st.floats())
    model = PROJECTORS[kind]().model
    changed = replace(model, keys={**model.keys, name: data.draw(values)})
    with suppress(ModelError, SettingsError):
        read = read_projector(changed)
        assert compute(Sight(read, image_tokens(read.tower, 4096, 512, None), 1)).high > 0
