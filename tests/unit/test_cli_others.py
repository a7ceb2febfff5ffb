from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.main import COMMANDS, cli
from compiler.units import counted
from tests.conftest import ROOT
from tests.hub.server import serve


def test_help_of_every_command() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert all(name in result.output for name in COMMANDS)
    for name in COMMANDS:
        assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from compiler.cli.main import main; sys.argv = ['stackc', '--help']; "
    code += "import atexit; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); main()"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    for name in ("pydantic", "jinja2", "ruamel", "huggingface_hub", "vllm", "torch"):
        assert f"'{name}'" not in result.stderr


def test_compiling_never_imports_the_hub_client() -> None:
    code = "import sys; from compiler.pipeline import compile_stack; from pathlib import Path; "
    code += "compile_stack(Path('stacks/coder-96gb.yaml'), 'x/coder-96gb.yaml'); print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert "'pydantic'" in result.stdout
    assert "'huggingface_hub'" not in result.stdout


def test_gpus_lists_the_catalog() -> None:
    listed = json.loads(CliRunner().invoke(cli, ["gpus", "--format", "json"]).output)["gpus"]
    assert {gpu["name"] for gpu in listed} == GPUS.keys()
    assert all(gpu["source"] for gpu in listed)


def test_explain_a_service_shows_its_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(cli, ["explain", "stacks/coder-96gb.yaml:general", "-v"])
    assert result.exit_code == 0
    assert "starts after coder" in result.output
    assert "KV cache: exact" in result.output
    assert CliRunner().invoke(cli, ["explain", "stacks/coder-96gb.yaml:nobody"]).exit_code == 2
    assert CliRunner().invoke(cli, ["explain", "E9999"]).exit_code == 2


def test_fit_answers_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        question = ["fit", "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "--gpu", "a10", "--hub"]
        fits = CliRunner().invoke(cli, [*question, "--context", "4K", "--format", "json"])
        embeds = CliRunner().invoke(cli, [*question, "--context", "4K", "--task", "embed", "--format", "json"])
        too_much = CliRunner().invoke(cli, [*question, "--context", "32K", "--format", "json"])
    answer = json.loads(fits.stdout)
    assert fits.exit_code == 0
    assert answer["plan"]["verdict"] == "fits"
    assert json.loads(embeds.stdout)["plan"]["services"][0]["task"] == "embed"
    assert too_much.exit_code == 1
    assert [d["code"] for d in json.loads(too_much.stdout)["diagnostics"]] == ["E0401"]
    assert list(tmp_path.iterdir()) == []


def test_fit_with_a_card_that_nobody_knows() -> None:
    assert CliRunner().invoke(cli, ["fit", "a/b", "--gpu", "voodoo"]).exit_code == 2


ASKED = ("fit", "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "--gpu", "a10", "--context", "40K", "--concurrency", "4")


def test_fit_points_at_the_words_of_its_question_and_at_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(cli, ASKED)
    assert "fit.yaml" not in result.output
    assert "--> command line:1:" in result.stderr
    lines = result.stderr.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("1 | stackc fit"))
    start, end = lines[at + 1].index("^"), lines[at + 1].rindex("^^") + 2
    assert lines[at][start:end] == "40K"
    (found,) = json.loads(CliRunner().invoke(cli, [*ASKED, "--format", "json"]).stdout)["diagnostics"]
    assert (found["file"], found["line"]) == ("command line", 1)


@pytest.mark.parametrize(
    ("words", "marked"),
    [
        (("--gpu", "a10", "--context", "lots"), "lots"),
        (("--gpu", "own", "--memory", "16GiB", "--compute-capability", "8.9"), "16GiB"),
        (("--gpu", "own", "--memory", "15.5GiB", "--compute-capability", "89"), "89"),
        (("--gpu", "a10", "--quantization", "int4"), "int4"),
        (("--gpu", "v100-32gb"), "v100-32gb"),
    ],
)
def test_fit_marks_the_word_that_a_finding_is_about(
    words: tuple[str, ...], marked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    answer = CliRunner().invoke(cli, ["fit", "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "-v", *words])
    lines = answer.stderr.splitlines()
    shown = [(line, lines[index + 1]) for index, line in enumerate(lines) if line.startswith("1 | ")]
    assert marked in [line[under.index("^") :][: under.count("^")] for line, under in shown], answer.output


@pytest.mark.parametrize("command", ["compile", "explain"])
def test_a_spec_in_stacks_is_found_by_its_name(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stacks").mkdir()
    for suffix in (".yaml", ".lock.yaml"):
        (tmp_path / f"stacks/tiny-cpu{suffix}").write_text((ROOT / f"stacks/tiny-cpu{suffix}").read_text())
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli, [command, "tiny-cpu"]).exit_code == 0
    assert CliRunner().invoke(cli, ["explain", "tiny-cpu:tiny"]).exit_code == 0
    assert CliRunner().invoke(cli, [command, "home"]).exit_code == 2


@pytest.mark.parametrize("command", ["compile", "lock", "images", "sbom", "explain"])
def test_a_folder_is_told_as_a_folder(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here/stacks").mkdir(parents=True)
    (tmp_path / "there/stacks").mkdir(parents=True)
    for name in ("a", "b", "c", "d", "a.lock"):
        (tmp_path / f"there/stacks/{name}.yaml").touch()
    monkeypatch.chdir(tmp_path / "here")
    result = CliRunner().invoke(cli, [command, "../there"])
    assert result.exit_code == 2
    assert "../there is a folder: name a spec in it, such as ../there/stacks/a.yaml" in result.stderr
    assert "c.yaml and 1 more" in result.stderr
    assert "lock" not in result.stderr.splitlines()[-1]
    assert "is a folder: name a spec in it\n" in CliRunner().invoke(cli, [command, "."]).stderr


def test_one_is_one() -> None:
    assert [counted(number, "model") for number in (0, 1, 2)] == ["0 models", "1 model", "2 models"]
