"""What a service that reads images is compiled to: its projector's file, options, rows and notes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compiler.lock.changes import lock_changes
from compiler.lock.file import read_lock, write_lock
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.targets.scripts import launch_script, render_launch
from tests.cases.test_errors import ERRORS

CASE = ERRORS / "gguf-large-images"
PROJECTOR = "mmproj-F16.gguf"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """A model of which the lock has a projector, on a card with room for it, by what the spec says of media."""
    found = {}
    for media in ("media: {image: 1}", "media: none", "engine_args: {image_max_tokens: 1024}, media: {image: 1}", ""):
        folder = tmp_path_factory.mktemp("images")
        spec = (CASE / f"{CASE.name}.yaml").read_text().replace(CASE.name, "x").replace("rtx-4060", "rtx-4090")
        (folder / "x.yaml").write_text(spec.replace(", media: {image: 1}", f", {media}" if media else ""))
        shutil.copy(CASE / f"{CASE.name}.lock.yaml", folder / "x.lock.yaml")
        stack, diagnostics = compile_stack(folder / "x.yaml", "x.yaml")
        assert stack is not None, diagnostics
        found[media] = stack.plan
    return found


@pytest.mark.parametrize(
    ("spec", "lock", "reason"),
    [
        ({"image: 1": "audio: 1"}, {}, "with images here, and not with `audio`"),
        ({"image: 1": "image: 1, video: 1"}, {}, "with images here, and not with `video`"),
        ({"media:": "task: embed, media:"}, {}, "llama-server reads images to write of them"),
        ({"media:": "max_num_batched_tokens: 128, media:"}, {}, None),
        ({}, {"[5120, 4096]": "[5120, 2048]"}, "makes embeddings of 2048 elements, and the model takes 4096"),
        ({}, {"attention.head_count: 16": "attention.head_count: 8"}, "no kernel of flash attention for its projector"),
        ({}, {"clip.has_vision_encoder: true": "clip.has_audio_encoder: true"}, "it reads sounds too"),
        ({}, {"block_count: 32": "block_count: 31"}, "is not alike in all 31 layers"),
    ],
)
def test_what_cannot_read_images_is_refused_with_the_reason(
    spec: dict[str, str], lock: dict[str, str], reason: str | None, tmp_path: Path
) -> None:
    """A server that would end at its start, or at the first image, is not promised."""
    texts = []
    for path, changes in ((CASE / f"{CASE.name}.yaml", spec), (CASE / f"{CASE.name}.lock.yaml", lock)):
        text = path.read_text().replace(CASE.name, "x").replace("rtx-4060", "rtx-4090")
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        texts.append(text)
    (tmp_path / "x.yaml").write_text(texts[0])
    (tmp_path / "x.lock.yaml").write_text(texts[1])
    stack, diagnostics = compile_stack(tmp_path / "x.yaml", "x.yaml")
    if reason is None:
        assert stack is not None
        return
    assert stack is None
    assert any(reason in each.message for each in diagnostics), [each.message for each in diagnostics]


def test_a_step_that_holds_no_image_is_refused_and_text_alone_offered(tmp_path: Path) -> None:
    """This Gemma 3 reads an image of 16 tokens whole: llama.cpp ends where a step has fewer."""
    case = ERRORS / "gguf-projector-kind"
    lock = (case / f"{case.name}.lock.yaml").read_text().replace(case.name, "x").replace("resampler", "gemma3")
    spec = (case / f"{case.name}.yaml").read_text().replace(case.name, "x")
    (tmp_path / "x.lock.yaml").write_text(lock)
    for step, is_refused in (("8", True), ("16", False)):
        (tmp_path / "x.yaml").write_text(spec.replace("media:", f"max_num_batched_tokens: {step}, media:"))
        stack, diagnostics = compile_stack(tmp_path / "x.yaml", "x.yaml")
        assert (stack is None) is is_refused, diagnostics
        if is_refused:
            assert "an image takes at least 16 tokens" in diagnostics[0].message
            assert [each.text for each in diagnostics[0].helps] == ["remove `media`"]


def test_a_lock_of_before_is_read_again(tmp_path: Path) -> None:
    """It names the projector, and does not say what that consists of."""
    lock, _ = read_lock(CASE / f"{CASE.name}.lock.yaml", "x")
    assert lock is not None
    ((name, facts),) = lock.models.items()
    assert facts.gguf is not None
    assert facts.gguf.projector is not None
    projector = facts.gguf.projector.model_copy(update={"tensors": ()})
    older = facts.model_copy(update={"gguf": facts.gguf.model_copy(update={"projector": projector})})
    write_lock(tmp_path / "x.lock.yaml", lock.model_copy(update={"models": {name: older}}))
    text = (CASE / f"{CASE.name}.yaml").read_text().replace(CASE.name, "x")
    (tmp_path / "x.yaml").write_text(text)
    stack, diagnostics = compile_stack(tmp_path / "x.yaml", "x.yaml")
    assert stack is None
    assert any("`stackc lock --upgrade` reads it" in each.message for each in diagnostics)


def said(plan: Plan) -> dict[str, object]:
    """Options by their names."""
    return {each.flag: each.value for each in plan.services[0].arguments}


def titles(plan: Plan) -> set[str]:
    """Rows of the card and of main memory."""
    parts = (*plan.devices, *((plan.host,) if plan.host is not None else ()))
    return {row.title for part in parts for server in part.servers for row in server.rows}


def test_the_projector_is_a_file_of_the_model_and_the_server_is_given_it(compiled: dict[str, Plan]) -> None:
    plan = compiled["media: {image: 1}"]
    service = plan.services[0]
    assert service.words == ("--model", "model", "--mmproj", "projector")
    assert (service.model.projector, service.model.files[-1].path) == (PROJECTOR, PROJECTOR)
    assert service.model.files[-1].sha256 == "6f" * 32
    text = render_launch(launch_script(plan, service))
    assert f"projector=$cache/snapshots/$commit/{PROJECTOR}" in text
    assert '--model "$model" --mmproj "$projector"' in text


def test_the_largest_image_is_what_the_server_is_told(compiled: dict[str, Plan]) -> None:
    """The ledger and the options say the same, and one image is read at once."""
    for media, tokens in (
        ("media: {image: 1}", "4096"),
        ("engine_args: {image_max_tokens: 1024}, media: {image: 1}", "1024"),
    ):
        options = said(compiled[media])
        assert (options["--image-max-tokens"], options["--mtmd-batch-max-tokens"]) == (tokens, tokens)
        assert [each.flag for each in compiled[media].services[0].arguments].count("--image-max-tokens") == 1
        notes = compiled[media].services[0].notes
        assert any(f"up to {tokens} of a slot's 8192 tokens" in note for note in notes)
        assert any("fetches it from whatever host" in note for note in notes)
    large, small = (
        next(row for server in plan.devices[0].servers for row in server.rows if "compute buffer" in row.title[10:])
        for plan in list(compiled.values())[::2]
    )
    assert small.bytes.high < large.bytes.high // 2


@pytest.mark.parametrize("media", ["media: none", ""])
def test_without_a_word_of_images_a_model_reads_text_alone(media: str, compiled: dict[str, Plan]) -> None:
    plan = compiled[media]
    assert "--no-mmproj" in said(plan)
    assert plan.services[0].words == ("--model", "model")
    assert plan.services[0].model.projector is None
    assert PROJECTOR not in [file.path for file in plan.services[0].model.files]
    assert not {title for title in titles(plan) if "projector" in title or "images" in title}
    assert any("has a projector beside it" in note for note in plan.services[0].notes)


def test_every_part_of_it_has_a_row(compiled: dict[str, Plan]) -> None:
    parts = ("projector", "projector's compute buffer", "projector's temporaries", "projector's inputs")
    assert {*parts, "images of requests"} <= titles(compiled["media: {image: 1}"])


def test_another_projector_is_a_change_of_the_lock() -> None:
    lock, _ = read_lock(CASE / f"{CASE.name}.lock.yaml", "x")
    assert lock is not None
    ((name, facts),) = lock.models.items()
    assert facts.gguf is not None
    without = facts.model_copy(update={"gguf": facts.gguf.model_copy(update={"projector": None})})
    (change,) = lock_changes(lock, lock.model_copy(update={"models": {name: without}}))
    assert [each.fact for each in change.facts] == ["projector"]
    assert str(change.facts[0].old).startswith(PROJECTOR)
