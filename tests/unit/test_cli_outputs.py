"""A file that a command reads is never the one that it writes, whatever it is called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from tests.conftest import ROOT

NAME = "coder-96gb"


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stacks"
    folder.mkdir()
    for end in (".yaml", ".lock.yaml"):
        shutil.copy(ROOT / "stacks" / f"{NAME}{end}", folder)
    (folder / "start.log").write_text("INFO vLLM API server version 0.31.0\n")
    (folder / "alias.yaml").symlink_to(f"{NAME}.yaml")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["sbom", "--output", f"stacks/{NAME}.yaml"],
        ["sbom", "--output", f"stacks/../stacks/{NAME}.lock.yaml", f"stacks/{NAME}.yaml"],
        ["sbom", "--output", "stacks/alias.yaml", f"stacks/{NAME}.yaml"],
        ["report", "--out", f"stacks/{NAME}.lock.yaml", f"stacks/{NAME}.yaml"],
        ["calibrate", "--gpu", "a10", "--out", "stacks/start.log", "stacks/start.log"],
    ],
)
def test_what_is_read_is_not_written_over(stacks: Path, command: list[str]) -> None:
    before = {path.name: path.read_bytes() for path in stacks.iterdir()}
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2
    assert "would be written over" in " ".join(result.output.split())
    assert {path.name: path.read_bytes() for path in stacks.iterdir()} == before
