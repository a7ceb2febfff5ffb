"""MIG slices under a vLLM of the machine's own: it takes a slice's number within its card for a card's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from compiler.checks.stack import check_spec
from compiler.diagnostics import Diagnostic, SourceText
from compiler.engines.registry import ENGINES
from compiler.solve.solve import apply_edits
from compiler.spec.reading.load import load_spec
from tests.unit.equipped_machine import on_slice
from tests.unit.plan_samples import UUIDS, two_on_one_gpu
from tests.unit.script_machine import H100S, Machine

SLICES = [f"MIG-00000000-0000-0000-0000-{number:012}" for number in range(7)]
L40S = f"1, {UUIDS[1]}, NVIDIA L40S, 8.9, 46068, 46000, 580.95.05, Disabled, Enabled"


def listing(*cards: tuple[str, ...]) -> str:
    """What `nvidia-smi -L` prints of cards cut into these slices."""
    lines = []
    for number, slices in enumerate(cards):
        lines.append(f"GPU {number}: NVIDIA H100 80GB HBM3 (UUID: {UUIDS[number]})")
        lines += [f"  MIG 3g.40gb     Device  {each}: (UUID: {uuid})" for each, uuid in enumerate(slices)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("wanted", "gpus", "cards", "words"),
    [
        (SLICES[0], H100S[:1], [(SLICES[0], SLICES[1])], "is slice 0 of GPU 0, among 1 GPUs"),
        (SLICES[1], H100S[:1], [(SLICES[0], SLICES[1])], "there is no GPU 1; pin slices with numbers below 1"),
        (SLICES[1], H100S, [(SLICES[0], SLICES[1]), ()], "is slice 1 of GPU 0, among 2 GPUs"),
        (SLICES[1], H100S, [(), (SLICES[0], SLICES[1])], "is slice 1 of GPU 1, among 2 GPUs"),
        (SLICES[0], H100S, [(), (SLICES[0],)], "is slice 0 of GPU 1"),
        (SLICES[2], H100S, [tuple(SLICES[:3]), ()], "there is no GPU 2"),
        (SLICES[1], [H100S[0], L40S], [(SLICES[0], SLICES[1]), ()], "GPU 1 is NVIDIA L40S"),
    ],
)
def test_the_number_of_a_slice_must_be_that_of_a_card_of_its_kind(
    tmp_path: Path, wanted: str, gpus: list[str], cards: list[tuple[str, ...]], words: str
) -> None:
    made = Machine(tmp_path, on_slice(two_on_one_gpu(), wanted))
    made.set_gpus(*gpus, slices=listing(*cards))
    done = made.preflight()
    assert done.returncode == (0 if words.startswith("is slice") else 31), done.stdout
    assert words in done.stdout


def test_without_the_slice_its_number_is_not_asked_for(tmp_path: Path) -> None:
    made = Machine(tmp_path, on_slice(two_on_one_gpu(), SLICES[0]))
    made.set_gpus(*H100S, slices=listing((SLICES[1],)))
    done = made.preflight()
    assert done.returncode == 11
    assert "skip  gpu01:0: mig: the gpu check failed" in done.stdout


def test_containers_look_nothing_up(tmp_path: Path) -> None:
    made = Machine(tmp_path, replace(on_slice(two_on_one_gpu(), SLICES[1]), targets=("compose",)))
    made.set_gpus(*H100S[:1], slices=listing((SLICES[0], SLICES[1])))
    done = made.preflight()
    assert done.returncode == 0, done.stdout
    assert "mig" not in done.stdout


TEXT = """stack: x
engine: {{vllm: 0.33.0}}
nodes:
  n:
    gpus: {{model: {model}, mig: {mig}, count: {count}, uuids: [{uuids}]}}
services: {{s: {{model: a/b, context: 4K, port: 8000}}}}
targets: [{targets}]
"""


def warnings(text: str) -> list[Diagnostic]:
    file, found = load_spec(SourceText("x.yaml", text), ENGINES)
    assert file is not None, found
    return [each for each in check_spec(file, ENGINES) if each.code == "W0204"]


def spec(mig: str, *, count: int = 2, targets: str = "systemd", model: str = "h100-80gb", more: str = "") -> str:
    uuids = ", ".join(SLICES[:count])
    return TEXT.format(model=model, mig=mig, count=count, uuids=uuids, targets=targets) + more


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        (spec("2g.20gb"), True),
        (spec("2g.20gb", targets="scripts, compose"), True),
        (spec("2g.20gb", count=1), True),
        # There is only one of these on a card, beside another one of less.
        (spec("4g.40gb"), True),
        (spec("2g.20gb", targets="compose"), False),
        (spec("2g.20gb", targets="quadlet"), False),
        (spec("7g.80gb"), False),
        (spec("4g.96gb", model="rtx-pro-6000"), False),
        (spec("3g.71gb", model="h200"), True),
    ],
)
def test_a_warning_where_some_machine_cannot_serve_the_slices(text: str, *, warns: bool) -> None:
    assert bool(warnings(text)) == warns


@pytest.mark.parametrize(
    ("count", "mig", "cards"),
    [(1, "1g.10gb", 1), (2, "1g.10gb", 2), (4, "1g.10gb", 2), (5, "1g.10gb", 3), (5, "3g.40gb", 3), (3, "4g.40gb", 3)],
)
def test_it_says_how_many_cards_it_takes(count: int, mig: str, cards: int) -> None:
    (found,) = warnings(spec(mig, count=count))
    assert f"at least {cards} card" in found.notes[1]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [("scripts, systemd", ("compose",)), ("systemd, quadlet", ("quadlet",)), ("scripts, compose", ("compose",))],
)
def test_its_help_ends_the_warning(targets: str, expected: tuple[str, ...]) -> None:
    text = spec("2g.20gb", targets=targets)
    (found,) = warnings(text)
    (help_,) = found.helps
    assert [edit.value for edit in help_.edits] == [expected]
    changed = apply_edits(YAML(typ="safe").load(text), help_.edits)
    file, problems = load_spec(SourceText("x.yaml", json.dumps(changed)), ENGINES)
    assert file is not None, problems
    assert check_spec(file, ENGINES) == ()


def test_what_only_the_machine_s_own_programs_have_is_not_dropped_unasked() -> None:
    (found,) = warnings(spec("2g.20gb", more="paths: {vllm: /opt/v/bin/vllm}\n"))
    assert [help_.edits for help_ in found.helps] == [()]
