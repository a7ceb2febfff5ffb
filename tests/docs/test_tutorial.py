"""Whoever follows the tutorial, and nothing else, gets what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import blocks_of
from tests.docs.tutorial import PAGE, played, steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def answers(folder: Path) -> list[tuple[str, str]]:
    return played(folder)


def test_each_command_prints_what_stands_below_it(answers: list[tuple[str, str]]) -> None:
    assert answers == steps()


def test_what_the_reader_runs_on_the_server_is_there(folder: Path, answers: list[tuple[str, str]]) -> None:
    tree = folder / "my-stacks" / "generated" / "tiny-cpu"
    script = "".join(block.text for block in blocks_of(PAGE) if block.language == "bash")
    named = set(re.findall(r"--file (\S+)", script))
    assert named == {"compose/compose.yaml"}
    assert all((tree / each).is_file() for each in named)
    services = re.findall(r'^  "(\S+)":$', (tree / "compose/compose.yaml").read_text(), re.MULTILINE)
    assert {"prefetch", "tiny"} <= set(services)
    # What it asks, and how, is what the tree's own README says.
    readme = (tree / "README.md").read_text()
    for words in ("exec tiny python3 -I /opt/stackc/bin/smoke-test tiny", "http://127.0.0.1:8000/v1/chat/completions"):
        assert words in script
        assert words in readme


def test_the_page_s_spec_and_report_are_there(folder: Path, answers: list[tuple[str, str]]) -> None:
    work = folder / "my-stacks"
    assert (work / "stacks" / "chat-rtx-4090.lock.yaml").is_file()
    assert "<svg" in (work / "report.html").read_text()
    assert [command for command, text in answers if "error[E0401]" in text] == ["stackc compile --quiet"]
