"""What a quick start on a CPU fetches: the server that it runs, and nothing of what only tests run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.conftest import ROOT
from tools import setup_engine


def fetched(engine: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """The commands of a set-up, none of which is run."""
    commands: list[str] = []

    def run(command: list[str], _: Path) -> None:
        commands.append(" ".join(command))
        if "venv" in command:
            (Path(command[-1]) / "lib/python3.11/site-packages").mkdir(parents=True)
        if "download" in command:
            with ZipFile(Path(command[command.index("--dest") + 1]) / "vllm.whl", "w") as wheel:
                wheel.writestr("vllm/__init__.py", "")

    monkeypatch.setattr(setup_engine, "run", run)
    monkeypatch.setattr(sys, "argv", ["setup_engine.py", "--engine", str(engine), *words])
    assert setup_engine.main() == 0
    return commands


def test_the_cpu_engine_alone_fetches_neither_the_gpu_release_nor_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = fetched(tmp_path / ".engine", monkeypatch, "--only", "cpu")
    assert len(commands) == len(capsys.readouterr().out.splitlines()) - 1, "each step is announced, and the end"
    assert [path.name for path in (tmp_path / ".engine").iterdir() if path.is_dir()] == ["cpu"]
    assert not [command for command in commands if "vllm==" in command or "gateway" in command]


def test_a_release_that_is_not_known_yet_is_fetched_alone_with_what_it_wants_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--release", "0.31.0", "--beside", "transformers==5.17.0"]
    fetching = fetched(tmp_path / ".engine", monkeypatch, *words)[-1]
    assert fetching.endswith(" vllm==0.31.0 transformers==5.17.0")
    parts = {path.name for path in (tmp_path / ".engine").iterdir() if path.is_dir()}
    assert parts == {"cpu", "vllm-0.31.0"}


def test_the_guide_s_way_to_serve_on_a_cpu_is_that_one() -> None:
    before, _, _ = (ROOT / "docs" / "how-to" / "cpu.md").read_text().partition("bin/launch-tiny")
    target = re.findall(r"^make ([a-z-]+)", before, re.MULTILINE)[-1]
    recipe = re.search(rf"^{target}:.*\n\t(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert recipe[1].endswith("tools/setup_engine.py --only cpu")
