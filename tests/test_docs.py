"""What README and docs/ show is real output: every `$ stackc …` is run, and must print what stands below it.

A line of three dots stands for any number of lines; at the beginning, for the findings. The commands of the tutorial,
of the guide for users of Ollama and of that to own models are run in order in folders of their own
(tests/docs/test_tutorial.py, test_ollama.py and test_own_models.py).
`python -m tests.test_docs` puts into the pages and the pictures what commands print and imports say now.
"""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from compiler.diagnostics import CODES
from tests.conftest import ROOT
from tests.docs import ollama, own_models, tutorial
from tests.docs.blocks import Block, blocks, blocks_of, pages, rewritten
from tools import draw_seam

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "team-96gb.svg"
SHOWN = [block for block in blocks("console") if block.page not in (tutorial.PAGE, ollama.PAGE, own_models.PAGE)]


def output_of(command: str, *, answer_alone: bool = False) -> str:
    program, *arguments = shlex.split(command)
    assert program == "stackc", f"a page shows {program}, which no test can run"
    # As on a terminal of 80 columns, whoever runs the tests.
    result = CliRunner().invoke(cli, arguments, env={"COLUMNS": None, "FORCE_COLOR": None})
    text = result.stdout if answer_alone else result.output
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def matches(wanted: str, output: str) -> bool:
    pattern = (
        re.escape(wanted.strip("\n"))
        .replace(re.escape("...\n"), r"(?:.*\n)*?")
        .replace(re.escape("\n..."), r"(?:\n.*)*")
    )
    return re.fullmatch(pattern, output.strip("\n")) is not None


@pytest.mark.emitted
@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.place)
def test_a_page_shows_real_output(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for command, wanted in block.commands():
        output = output_of(command)
        assert matches(wanted, output), f"$ {command}\n{output}"


def picture() -> str:
    return output_of("stackc report --format svg stacks/team-96gb.yaml").partition("<svg")[2]


def test_the_picture_is_drawn_by_stackc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert PICTURE.read_text() == f"<svg{picture()}"
    assert f"({PICTURE.relative_to(ROOT)})" in README.read_text()
    assert f"({PICTURE.name})" in (ROOT / "docs" / "index.md").read_text()


@pytest.mark.parametrize(("page", "name"), [("README.md", "coder-96gb"), ("docs/how-to/cpu.md", "tiny-cpu")])
def test_a_page_s_spec_is_the_shipped_one(page: str, name: str) -> None:
    # Less the line for editors and the first words.
    spec = (ROOT / "stacks" / f"{name}.yaml").read_text().split("\n", 2)[2]
    assert spec in (ROOT / page).read_text()


def test_the_readme_is_one_screen_and_a_half() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_codes_commands_and_options_that_the_pages_name_exist() -> None:
    context = click.Context(cli)
    for page in pages():
        text = page.read_text()
        assert set(re.findall(r"\b[EW]0\d{3}\b", text)) <= CODES.keys(), page
        scripts = "".join(block.text for block in blocks_of(page) if block.language in ("bash", "console"))
        typed = re.findall(r"`stackc ([a-z]+)\b([^`]*)`", text)
        typed += re.findall(r"^(?:\$ )?stackc ([a-z]+)\b(.*)", scripts, re.MULTILINE)
        for name, words in typed:
            command = cli.get_command(context, name)
            assert command is not None, (page, name)
            if isinstance(command, click.Group):
                command = command.commands.get(words.split()[0] if words.split() else "", command)
            known = {option for each in command.params for option in each.opts} | {"--help"}
            assert set(re.findall(r"(?<=\s)--[a-z-]+", words.partition("#")[0])) <= known, (page, name, words)


def rewrite() -> None:
    """Put the present output of every fully shown command into the pages."""
    for page in {block.page for block in SHOWN}:
        page.write_text(rewritten(page, present))
    with tempfile.TemporaryDirectory() as folder:
        answers = iter(tutorial.played(Path(folder)))
        tutorial.PAGE.write_text(rewritten(tutorial.PAGE, lambda *_: next(answers)[1]))
    rewrite_ollama()
    rewrite_own_models()
    PICTURE.write_text(f"<svg{picture()}")
    draw_seam.main()


def rewrite_ollama() -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = ollama.played(Path(folder))
        text = rewritten(ollama.PAGE, lambda _, wanted: kept(wanted, next(told)))
    ollama.PAGE.write_text(text)


def rewrite_own_models() -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = own_models.played(Path(folder))
        text = rewritten(own_models.PAGE, lambda _, wanted: kept(wanted, next(told)[2]))
    own_models.PAGE.write_text(text)


def kept(wanted: str, output: str) -> str:
    """The output, or what stands there where that leaves lines out."""
    return wanted if "...\n" in wanted else output


def present(command: str, wanted: str) -> str:
    """What stands below a command from now on."""
    if wanted.startswith("...\n"):  # in place of the findings
        return f"...\n{output_of(command, answer_alone=True).rstrip()}\n"
    return kept(wanted, f"{output_of(command).rstrip()}\n")


if __name__ == "__main__":
    rewrite()
    sys.exit(0)
