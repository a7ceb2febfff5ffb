"""A project of two stacks, compiled, and what a user sees of a run in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compiler.cli.main import cli
from tests.conftest import ROOT

NAMES = ("tiny-cpu", "coder-5090")
Project = Path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `project` starts from."""
    folder = tmp_path_factory.mktemp("compiled") / "project"
    (folder / "stacks").mkdir(parents=True)
    for name in NAMES:
        for suffix in (".yaml", ".lock.yaml"):
            shutil.copy(ROOT / "stacks" / f"{name}{suffix}", folder / "stacks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("compile").exit_code == 0
    return folder


@pytest.fixture
def project(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The working folder, with two stacks, compiled."""
    folder = tmp_path / "project"
    shutil.copytree(compiled, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def codes(result: Result) -> list[str]:
    return [each["code"] for each in json.loads(result.stdout)["diagnostics"] if each["severity"] == "error"]
