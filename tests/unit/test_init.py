"""`stackc init`: from an empty folder to a compiled stack, with and without a GPU, a network and a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import constants
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.main import cli
from compiler.cli.run.examples import examples
from compiler.cli.run.machine import Cards, cards, detect
from compiler.cli.run.starters import CHAT, CODE, TASKS, choices, recorded_lock
from compiler.schemas.documents import schema_of, schema_text
from compiler.units import MIB
from tests.hub.server import serve

FOUND = """\
NVIDIA GeForce RTX 4090, 24564 MiB, GPU-11111111-2222-3333-4444-555555555555, 8.9
NVIDIA GeForce RTX 4090, 24564 MiB, GPU-11111111-2222-3333-4444-555555555556, 8.9
NVIDIA GeForce GT 1030, 2048 MiB, GPU-11111111-2222-3333-4444-555555555557, 6.1
"""
UUIDS = [f"GPU-11111111-2222-3333-4444-55555555555{number}" for number in (5, 6)]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with no GPU, no network and nothing cached."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def smi(tmp_path: Path) -> Path:
    """An nvidia-smi that finds FOUND; a test may write another."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\n[ \"$1\" = --query-gpu=name,memory.total,uuid,compute_cap ] && printf '%s' '{FOUND}'\n"
    )
    program.chmod(0o755)
    return program


def init(*words: str) -> Result:
    return CliRunner().invoke(cli, ["init", *words])


def gpus_of(path: str) -> dict[str, object]:
    spec = YAML(typ="safe").load(Path(path).read_text())
    gpus: dict[str, object] = spec["nodes"]["gpu01"]["gpus"]
    return gpus


def test_one_command_from_an_empty_folder_to_a_compiled_stack(empty: Path) -> None:
    result = init("--yes", "--gpu", "rtx-4090", "--task", "chat")
    assert result.exit_code == 0, result.output
    assert (empty / "generated" / "chat-rtx-4090" / "README.md").is_file()
    assert "fits" in result.stdout
    assert result.stdout.splitlines()[-4] == "next:"
    spec = (empty / "stacks" / "chat-rtx-4090.yaml").read_text()
    assert spec.startswith("# yaml-language-server: $schema=spec.schema.json\n")
    assert (empty / "stacks" / "spec.schema.json").read_text() == schema_text("spec")
    assert Draft202012Validator(schema_of("spec")).is_valid(YAML(typ="safe").load(spec))
    # What was written is what every later run compiles.
    assert CliRunner().invoke(cli, ["compile", "--check"]).exit_code == 0


def test_what_nvidia_smi_finds_is_taken(empty: Path, smi: Path) -> None:
    result = init("home", "--yes", "--offline")
    assert result.exit_code == 0, result.output
    assert "2 × GeForce RTX 4090" in result.stderr
    assert "left out" in result.stderr
    assert gpus_of("stacks/home.yaml") == {"model": "rtx-4090", "count": 2, "uuids": UUIDS}, "others stand between them"


def test_the_command_line_wins_over_nvidia_smi(empty: Path, smi: Path) -> None:
    assert init("a", "--yes", "--offline", "--count", "1").exit_code == 0
    assert init("b", "--yes", "--offline", "--gpu", "l4").exit_code == 0
    assert gpus_of("stacks/a.yaml") == {"model": "rtx-4090", "count": 1, "uuids": UUIDS[:1]}
    assert gpus_of("stacks/b.yaml") == {"model": "l4", "count": 1}


def test_a_card_that_the_catalogue_has_not_is_described(empty: Path, smi: Path) -> None:
    smi.write_text("#!/bin/sh\necho 'NVIDIA Novelty 9000, 49140 MiB, GPU-x, 12.0'\n")
    result = init("--yes", "--offline", "new")
    assert result.exit_code == 0, result.output
    assert gpus_of("stacks/new.yaml") == {"memory": "48240MiB", "compute_capability": "12.0", "count": 1}


@pytest.mark.parametrize(
    "answer", ["exit 9", "echo 'No devices were found'", "printf '\\377,,,\\n'", "echo 'X, [N/A], u, 8.9'"]
)
def test_odd_answers_of_nvidia_smi_are_no_card(empty: Path, smi: Path, answer: str) -> None:
    smi.write_text(f"#!/bin/sh\n{answer}\n")
    result = init("--yes", "--offline")
    assert result.exit_code == 2, result.output
    assert "--gpu" in result.stderr
    assert not list(empty.iterdir())


def test_without_nvidia_smi_nothing_is_found(empty: Path) -> None:
    assert detect() == ()


@pytest.mark.parametrize(
    ("title", "mebibytes", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", 81920, "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB", 40960, "a100-40gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, "rtx-pro-6000"),
        ("NVIDIA GeForce RTX 5090", 32607, "rtx-5090"),
        ("NVIDIA GeForce RTX 3080", 10240, "rtx-3080-10gb"),
        ("NVIDIA GeForce RTX 3080", 12288, "rtx-3080-12gb"),
        ("NVIDIA L40S", 46068, "l40s"),
        ("NVIDIA H100 80GB HBM3", 81559, "h100-80gb"),
    ],
)
def test_the_catalogue_s_figures_are_taken_and_an_unknown_card_s_stay_below(
    title: str, mebibytes: int, name: str
) -> None:
    (known,) = cards(f"{title}, {mebibytes} MiB, GPU-x, 8.0\n")
    assert known == Cards(name, GPUS[name].title, 1)
    (unknown,) = cards(f"Something, {mebibytes} MiB, GPU-x, 8.0\n")
    assert unknown.memory is not None
    assert GPUS[name].memory - 600 * MIB < unknown.memory <= GPUS[name].memory


@pytest.mark.parametrize("taken", ["stacks/x.yaml", "stacks/x.lock.yaml"])
def test_what_exists_is_never_overwritten(empty: Path, taken: str) -> None:
    (empty / "stacks").mkdir()
    (empty / taken).write_text("mine\n")
    for words in (("x", "--yes", "--gpu", "a10"), ("--from", "tiny-cpu", "x")):
        result = init(*words)
        assert result.exit_code == 2
        assert "not overwritten" in result.stderr
    assert [path.name for path in (empty / "stacks").iterdir()] == [Path(taken).name]
    assert (empty / taken).read_text() == "mine\n"


def test_a_schema_that_is_there_stays(empty: Path) -> None:
    (empty / "stacks").mkdir()
    (empty / "stacks" / "spec.schema.json").write_text("{}")
    assert init("--yes", "--gpu", "a10").exit_code == 0
    assert (empty / "stacks" / "spec.schema.json").read_text() == "{}"


@pytest.mark.parametrize("example", sorted(examples()))
def test_every_shipped_stack_can_be_started_from(empty: Path, example: str) -> None:
    result = init("--from", example, "mine")
    assert result.exit_code == 0, result.output
    assert list((empty / "generated" / "mine").rglob("plan.json"))
    assert Path("stacks/mine.yaml").read_text().count("$schema=") == 1


def test_shipped_stacks_are_listed(empty: Path) -> None:
    lines = init("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == sorted(examples())
    assert max(map(len, lines)) <= 80
    assert not list(empty.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "nothing"),
        ("--from", "tiny-cpu", "--gpu", "a10"),
        ("--yes", "--gpu", "nothing"),
        ("--gpu", "a10"),
        ("--yes", "--gpu", "a10", "../x"),
        ("--yes", "--gpu", "a10", "X"),
    ],
)
def test_what_cannot_be_meant_is_refused(empty: Path, words: tuple[str, ...]) -> None:
    assert init(*words).exit_code == 2
    assert not list(empty.iterdir())


def test_a_card_for_which_nothing_is_small_enough_gets_no_file(empty: Path) -> None:
    result = (
        init("--yes", "--gpu", "gtx-1080", "--offline") if "gtx-1080" in GPUS else init("--yes", "--gpu", "v100-16gb")
    )
    assert result.exit_code == 1
    assert "nothing that ships" in result.stdout
    assert not list(empty.iterdir())


def test_without_facts_and_network_the_spec_is_written_and_the_next_step_said(empty: Path) -> None:
    result = init("--yes", "--gpu", "rtx-4090", "--task", "rag")
    assert result.exit_code == 3
    assert "without a lock" in result.stdout
    assert "stackc lock stacks/rag-rtx-4090.yaml" in result.stdout
    assert init("again", "--yes", "--gpu", "rtx-4090", "--task", "embed", "--offline").exit_code == 1
    services = YAML(typ="safe").load(Path("stacks/rag-rtx-4090.yaml").read_text())["services"]
    assert list(services) == ["chat", "embed", "rerank"]
    assert len({service["port"] for service in services.values()}) == 3


@pytest.fixture
def online(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with serve() as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield


def test_with_a_network_the_lock_is_the_hub_s(online: None) -> None:
    result = init("--yes", "--gpu", "rtx-4090")
    assert result.exit_code == 0, result.output
    assert "facts that ship" not in result.stderr
    assert Path("stacks/chat-rtx-4090.lock.yaml").is_file()


def test_a_terminal_is_asked(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.cli.run.init.is_terminal", lambda: True)
    result = CliRunner().invoke(cli, ["init", "--offline"], input="RTX 4090\ncode\n")
    assert result.exit_code == 0, result.output
    assert Path("stacks/code-rtx-4090.yaml").is_file()


def test_facts_of_every_generating_starter_ship() -> None:
    for starter in chain(CHAT, CODE):
        assert recorded_lock({"x": starter}) is not None, starter
    assert len(list(choices(["chat", "code"]))) == len(CHAT) * len(CODE)
    assert set(TASKS) == {"chat", "code", "embed", "rerank", "rag"}


def test_quiet_writes_and_says_nothing(empty: Path) -> None:
    done = init("--yes", "--gpu", "rtx-4090", "-q")
    assert (done.exit_code, done.output) == (0, "")
    assert (empty / "generated" / "chat-rtx-4090" / "README.md").is_file()


def test_verbose_reaches_the_compiler(empty: Path) -> None:
    assert "= help:" in init("--yes", "--gpu", "rtx-4090", "-v").stderr


SLICED = """\
NVIDIA H100 80GB HBM3, 81559 MiB, GPU-11111111-2222-3333-4444-555555555555, 9.0
NVIDIA H100 80GB HBM3, 81559 MiB, GPU-11111111-2222-3333-4444-555555555556, 9.0
"""
LISTED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-2222-3333-4444-555555555555)
  MIG 3g.40gb     Device  0: (UUID: MIG-aaaaaaaa-2222-3333-4444-555555555555)
  MIG 3g.40gb     Device  1: (UUID: MIG-bbbbbbbb-2222-3333-4444-555555555555)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-2222-3333-4444-555555555556)
"""


def test_slices_are_served_on_and_not_the_gpu_that_they_are_cut_from(empty: Path, smi: Path) -> None:
    """Taken whole, its stack would be proved to fit in a memory that no process gets."""
    assert [(one.count, one.mig) for one in cards(SLICED, LISTED)] == [(2, "3g.40gb"), (1, None)]
    smi.write_text(f"#!/bin/sh\ncase $1 in -L) printf '%s' '{LISTED}' ;; *) printf '%s' '{SLICED}' ;; esac\n")
    result = init("--yes")
    assert result.exit_code == 0, result.output
    assert "MIG slices of 3g.40gb" in result.stderr
    gpus = gpus_of("stacks/chat-h100-80gb.yaml")
    assert (gpus["count"], gpus["mig"]) == (2, "3g.40gb")
    assert gpus["uuids"] == [f"MIG-{letter * 8}-2222-3333-4444-555555555555" for letter in "ab"]


def test_without_a_gpu_a_stack_is_compiled_for_the_cpu_and_no_network_is_needed(empty: Path) -> None:
    result = init("--yes", "--cpu", "--offline")
    assert result.exit_code == 0, result.output
    spec = YAML(typ="safe").load(Path("stacks/chat-cpu.yaml").read_text())
    assert spec["engine"] == {"vllm": "0.32.0"}
    assert re.fullmatch(r"\d+GiB", spec["nodes"]["cpu01"]["cpu"]["memory"])
    assert Path("generated/chat-cpu/README.md").is_file()
    assert [init(*words).exit_code for words in (("--cpu", "--gpu", "a10"), ("--cpu", "--task", "code"))] == [2, 2]


def test_what_has_no_facts_here_says_what_has(empty: Path) -> None:
    result = init("--yes", "--cpu", "--offline", "--task", "embed")
    assert result.exit_code == 1
    assert "stackc lock stacks/embed-cpu.yaml" in result.stderr
    assert "without a network `--task chat` can be compiled" in result.stderr
    assert Path("stacks/embed-cpu.yaml").is_file()
