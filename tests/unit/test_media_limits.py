"""`media`: what a prompt may hold decides which towers are built, and what the profile run makes up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.checkpoints import media_limits
from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.media_limits import with_limits
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.memory.encoder_budget import encoder_budget, encoder_memory, whole_item
from compiler.engines.vllm.memory.weights import weights_row
from compiler.ledger import Basis
from compiler.pipeline import compile_stack
from compiler.spec.services import MOST_MEDIA, ServiceSpec
from tests.unit.test_media_plan import compiled, service_of
from tests.unit.test_memory_vision import LLAVA, MISTRAL_3, QWEN2_5_VL, QWEN3_VL_8B, tower_elements
from tests.unit.test_tower_peaks import shape

GEMMA3: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "mm_tokens_per_image": 256,
    "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 4, "torch_dtype": "bfloat16"},
    "vision_config": {
        "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "num_attention_heads": 16,
        "num_hidden_layers": 2, "patch_size": 14, "model_type": "siglip_vision_model",
    },
}  # fmt: skip
VISION = [QWEN2_5_VL, QWEN3_VL_8B, LLAVA, MISTRAL_3]


def spec(media: Any) -> ServiceSpec:
    return ServiceSpec.model_validate({"model": "own/m", "context": 4096, "port": 8000, "media": media})


def limited(config: dict[str, Any], media: Any) -> Architecture:
    return with_limits(read_architecture(config), spec(media).media_limit)


@pytest.mark.parametrize("config", VISION, ids=lambda config: config["architectures"][0])
@pytest.mark.parametrize("media", ["none", {"image": 0, "video": 0}])
def test_a_tower_that_may_be_given_nothing_is_not_built(config: dict[str, Any], media: Any) -> None:
    """The engine makes neither its weights nor its profile run; the checkpoint holds its tensors all the same."""
    whole, text = read_architecture(config), limited(config, media)
    (tower,) = whole.encoders
    for ranks in (1, 2):
        sizes = [rank_weights(each, None, Parallelism(ranks), served_dtype="bfloat16") for each in (whole, text)]
        assert sizes[0] - sizes[1] == 2 * tower_elements(tower, ranks) > 0
    assert encoder_memory(text, Parallelism(), shape()) is None
    assert encoder_budget(text, shape()) == (0, 0)
    tensors = expected_tensors(text, None)
    assert tensors == expected_tensors(whole, None)
    row = weights_row(Checkpoint(text, None, tensors), Parallelism(), "bfloat16", (9, 0))
    assert (row.basis, row.bytes.low) == (Basis.EXACT, row.bytes.high)


def test_what_a_class_builds_all_the_same_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights stay, and only the profile run goes."""
    monkeypatch.setattr(media_limits, "ALWAYS_BUILT", {LLAVA["architectures"][0]})
    sizes = [
        rank_weights(each, None, Parallelism(), served_dtype="bfloat16")
        for each in (read_architecture(LLAVA), limited(LLAVA, "none"))
    ]
    assert sizes[0] == sizes[1]
    assert encoder_memory(limited(LLAVA, "none"), Parallelism(), shape()) is None


def test_text_alone_attends_as_a_language_model_does() -> None:
    """Where an image's tokens see each other, other backends come first, and a batch must hold a whole image."""
    whole = read_architecture(GEMMA3)
    text, few = limited(GEMMA3, "none"), limited(GEMMA3, {"image": 1})
    assert (whole.whole_items, few.whole_items, text.whole_items) == (True, True, False)
    assert whole_item(whole, 4096) >= 256 > whole_item(text, 4096) == 0
    plans = [attention_plan(each, capability=(9, 0), served_dtype="bfloat16") for each in (whole, text)]
    assert plans[0].backends != plans[1].backends == ("FLASH_ATTN",)


def test_without_videos_the_largest_item_is_an_image() -> None:
    assert encoder_budget(read_architecture(QWEN2_5_VL), shape(128000))[1] == 7 * 16384
    assert encoder_budget(limited(QWEN2_5_VL, {"video": 0}), shape(128000))[1] == 16384
    # Of an image alone nothing is known to be smaller than a video.
    assert encoder_budget(limited(QWEN2_5_VL, {"image": 0}), shape(128000))[1] == 7 * 16384


def test_fewer_items_of_a_prompt_are_fewer_in_the_profile_run() -> None:
    """One request at a time, so that its prompt alone fills the batch."""
    alone = shape(tokens=32768)
    alone = type(alone)(alone.max_num_batched_tokens, 1, 32768, alone.served_dtype)
    towers = []
    for media in (None, {"image": 2}, {"image": 1}):
        memory = encoder_memory(limited(LLAVA, media), Parallelism(), alone)
        assert memory is not None
        towers.append(memory.tower.high)
    assert towers[0] > towers[1] == 2 * towers[2]


def test_one_kind_left_keeps_the_tower() -> None:
    text = limited(QWEN3_VL_8B, {"video": 0})
    assert text.towers
    assert rank_weights(text, None, Parallelism(), served_dtype="bfloat16") == rank_weights(
        read_architecture(QWEN3_VL_8B), None, Parallelism(), served_dtype="bfloat16"
    )


def flags(service: Any) -> dict[str, Any]:
    return {each.flag: each.value for each in service.arguments}


@pytest.mark.parametrize(
    ("media", "flag", "value"),
    [
        ("none", "--language-model-only", None),
        # Whatever the engine calls the kinds, this shuts all of them.
        ({"image": 0, "video": 0}, "--language-model-only", None),
        ({"image": 2, "video": 0}, "--limit-mm-per-prompt", {"image": 2, "video": 0}),
    ],
)
def test_the_server_is_told(tmp_path: Path, media: Any, flag: str, value: Any) -> None:
    service = service_of(compiled(tmp_path, media=media))
    found = flags(service)
    assert {"--language-model-only", "--limit-mm-per-prompt"} & set(found) == {flag}
    assert value is None or json.loads(found[flag]) == value
    # Nothing is fetched, whether or not the engine would look at the kind first.
    assert service.media_domains == ()


def test_text_alone_is_offered_where_the_tower_is_too_much(tmp_path: Path) -> None:
    compiled(tmp_path)
    data = json.loads((tmp_path / "x.yaml").read_text())
    data["nodes"]["n"]["gpus"] = {"memory": "7500MiB", "compute_capability": "8.9"}
    data["services"]["see"] |= {"max_num_seqs": 8}
    (tmp_path / "x.yaml").write_text(json.dumps(data))
    _, found = compile_stack(tmp_path / "x.yaml", "x.yaml")
    helps = [help_.text for each in found if each.code in ("E0401", "E0402") for help_ in each.helps]
    assert "`media: none` for `see`: it then reads text alone" in helps


@pytest.mark.parametrize(
    ("service", "code", "words"),
    [
        ({"media": "none", "allowed_media_domains": ["images.example.org"]}, "E0223", "nothing to fetch"),
        ({"media": {"audio": 1}}, "E0223", "limits `audio`"),
        ({"media": {"smell": 1}}, "E0203", ""),
        ({"media": {"image": MOST_MEDIA + 1}}, "E0203", ""),
        ({"media": "all"}, "E0203", ""),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, service: dict[str, Any], code: str, words: str) -> None:
    compiled(tmp_path)  # writes the lock and a spec that is right
    data = json.loads((tmp_path / "x.yaml").read_text())
    data["services"]["see"] |= service
    (tmp_path / "x.yaml").write_text(json.dumps(data))
    _, found = compile_stack(tmp_path / "x.yaml", "x.yaml")
    assert {each.code for each in found if each.code.startswith("E")} == {code}
    assert any(words in each.message for each in found)
