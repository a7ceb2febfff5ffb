from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.catalog.gpus import GPUS
from compiler.cli.main import COMMANDS, cli
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
        question = ["fit", "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "--gpu", "a10"]
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
