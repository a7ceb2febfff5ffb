"""What is read on a screen fits on one: 80 columns, and no more lines than what is said is worth."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compiler.cli.main import cli
from tests.conftest import ROOT

SPECS = sorted(path.name for path in (ROOT / "stacks").glob("*.yaml") if not path.name.endswith(".lock.yaml"))
COLUMNS = 80


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped stacks, as a user has them who compiles for the first time."""
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    return tmp_path


def run(*words: str) -> Result:
    result: Result = CliRunner().invoke(cli, list(words))
    return result


def test_a_first_compile_and_a_check_of_one_changed_number_fit_on_a_screen(project: Path) -> None:
    first = run("compile")
    assert first.exit_code == 0
    assert len(first.output.splitlines()) <= 30
    assert first.output.splitlines()[-1] == first.stdout.splitlines()[-1], "the result is the last thing said"

    spec = project / "stacks" / "team-96gb.yaml"
    changed, count = re.subn(r"concurrency: 4\b", "concurrency: 5", spec.read_text(encoding="utf-8"), count=1)
    assert count == 1
    spec.write_text(changed, encoding="utf-8")
    check = run("compile", "--check")
    assert check.exit_code == 1
    assert check.output.splitlines()[0] == "team-96gb: coder: concurrency 4 -> 5"
    assert len(check.output.splitlines()) <= 25


@pytest.mark.parametrize("words", [(word, f"stacks/{name}") for word in ("explain", "plan") for name in SPECS])
def test_answers_about_a_stack_are_no_wider_than_the_screen(project: Path, words: tuple[str, str]) -> None:
    answer = run(*words).stdout.splitlines()
    assert answer
    assert [line for line in answer if len(line) > COLUMNS] == []


def test_the_list_of_gpus_is_no_wider_than_the_screen(project: Path) -> None:
    assert [line for line in run("gpus").stdout.splitlines() if len(line) > COLUMNS] == []
