"""Whoever follows the guide for users of Ollama gets what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.ollama import played, steps
from tests.test_docs import matches


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ollama")


@pytest.fixture(scope="module")
def answers(folder: Path) -> list[str]:
    return list(played(folder))


def test_each_command_prints_what_stands_below_it(answers: list[str]) -> None:
    for (command, wanted), answer in zip(steps(), answers, strict=True):
        assert matches(wanted, answer), f"$ {command}\n{answer}"


def test_the_launch_script_starts_llama_server_with_what_the_page_says(folder: Path, answers: list[str]) -> None:
    script = (folder / "generated" / "home" / "bin" / "launch-chat").read_text()
    assert "STACKC_LLAMA_SERVER" in script
    # What compiled last: four requests of 16K tokens.
    for words in ("--ctx-size 65536", "--parallel 4", "--fit off", "--no-kv-unified"):
        assert f"  {words}\n" in script
    assert "error[E0401]" in answers[-1]
