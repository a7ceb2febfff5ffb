"""`stackc fit` and `stackc init` with models in GGUF files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from benchmarks.gguf_fit import Question, lock_of
from compiler.cli.main import cli
from compiler.cli.report import Exit
from compiler.lock.file import format_lock
from tests.engines.llama_cpp.random_models import MODELS

CARD = ("--gpu", "small", "--memory", "1000MiB", "--compute-capability", "8.9", "--context", "4K")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stacks").mkdir()
    return tmp_path


def locked(place: Path, model: str) -> str:
    """A lock with forty quantizations, which answers questions without a Hub."""
    question = Question(model, "rtx-4060-ti-16gb", 1, "64GiB")
    (place / "stacks" / "it.lock.yaml").write_text(format_lock(lock_of(question)))
    return f"a/{model}-GGUF"


def test_fit_says_which_quantization_and_how_many_layers(place: Path) -> None:
    model = locked(place, "llama-3.2-1b")
    alone = CliRunner().invoke(cli, ["fit", model, *CARD, "--no-help"])
    assert alone.exit_code == 1
    assert "more, which --verbose lists" in alone.output
    result = CliRunner().invoke(cli, ["fit", model, *CARD, "--host-memory", "8GiB"])
    assert result.exit_code == 0, result.output
    assert "of 17 layers lie on GPUs" in result.output
    assert result.output.count(f"{model}#") < 10


def test_fit_names_what_was_typed_where_it_does_not_fit(place: Path) -> None:
    model = locked(place, "llama-3.2-1b")
    typed = ["fit", model, *CARD, "--engine", "llama.cpp", "--host-memory", "1GiB", "--format", "json", "--no-help"]
    (error,) = json.loads(CliRunner().invoke(cli, typed).output)["diagnostics"]
    assert error["code"] == "E0402"
    assert any("GiB of main memory short" in note for note in error["notes"])


def test_an_engine_is_not_asked_about_a_lock_in_another_format(place: Path) -> None:
    model = locked(place, "llama-3.2-1b")
    result = CliRunner().invoke(cli, ["fit", model, *CARD, "--engine", "vllm"], env={"HF_HUB_OFFLINE": "1"})
    assert result.exit_code == Exit.OUTSIDE


def test_init_writes_llama_cpp_for_a_gguf_file(place: Path) -> None:
    file = place / "tiny-F32.gguf"
    MODELS["qwen3"]().write(file)
    result = CliRunner().invoke(cli, ["init", "mine", "--cpu", "--model", str(file)])
    assert result.exit_code == 0, result.output
    spec = YAML(typ="safe").load((place / "stacks" / "mine.yaml").read_text())
    assert spec["engine"] == {"llama.cpp": "b10434"}
    assert spec["services"]["chat"]["model"] == str(file)
    assert "policy" not in spec, "its licence was not read"
    assert (place / "generated" / "mine" / "bin").is_dir()


@pytest.mark.parametrize("words", [("--task", "chat"), ("--from", "tiny-cpu")])
def test_init_has_one_model(place: Path, words: tuple[str, str]) -> None:
    result = CliRunner().invoke(cli, ["init", "mine", "--cpu", "--model", "a/b-GGUF", *words])
    assert result.exit_code == 2
    assert not (place / "stacks" / "mine.yaml").exists()
