"""What the README shows is real output: every `$ stackc …` in it is run, and must print what stands below it.

A line of three dots in the README stands for any number of lines; at the beginning, for the findings.
`python -m tests.test_docs` rewrites the README and its picture with what the commands print now.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from compiler.cli.main import COMMANDS, cli
from compiler.diagnostics import CODES
from compiler.spec.models import GpusSpec, NodeSpec, PathsSpec, PolicySpec, SecretsSpec, ServiceSpec, Spec
from compiler.spec.operations import GatewaySpec, MonitoringSpec, PatchesSpec, RolloutSpec
from tests.conftest import ROOT

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "team-96gb.svg"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def shown(text: str) -> Iterator[tuple[str, str]]:
    """Each command of the text's console blocks, and the output that stands below it."""
    for block in BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def output_of(command: str, *, answer_alone: bool = False) -> str:
    program, *arguments = shlex.split(command)
    assert program == "stackc", f"the README shows {program}, which no test can run"
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


@pytest.mark.parametrize(("command", "wanted"), list(shown(README.read_text())))
def test_the_readme_shows_real_output(command: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    output = output_of(command)
    assert matches(wanted, output), f"$ {command}\n{output}"


def picture() -> str:
    return output_of("stackc report --format svg stacks/team-96gb.yaml").partition("<svg")[2]


def test_the_readme_s_picture_is_drawn_by_stackc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert PICTURE.read_text() == f"<svg{picture()}"
    assert f"({PICTURE.relative_to(ROOT)})" in README.read_text()


def test_the_readme_s_spec_is_the_shipped_one() -> None:
    spec = (
        (ROOT / "stacks" / "coder-96gb.yaml").read_text().split("\n", 2)[2]
    )  # less the schema's line and the first words
    assert spec in README.read_text()


SPEC_MODELS = (
    Spec,
    NodeSpec,
    GpusSpec,
    ServiceSpec,
    RolloutSpec,
    GatewaySpec,
    MonitoringSpec,
    PatchesSpec,
    PolicySpec,
    PathsSpec,
    SecretsSpec,
)


@pytest.mark.parametrize("model", SPEC_MODELS)
def test_every_key_of_a_spec_is_documented(model: type[Spec]) -> None:
    text = README.read_text()
    for name in model.model_fields:
        assert f"`{name}`" in text or f"`{name}:" in text, f"README.md does not mention `{name}`"


def test_every_command_is_documented() -> None:
    text = README.read_text()
    assert all(f"`stackc {name}" in text for name in COMMANDS)


def test_codes_that_the_readme_names_exist() -> None:
    assert set(re.findall(r"\b[EW]0\d{3}\b", README.read_text())) <= CODES.keys()


def rewrite() -> None:
    """Put the present output of every fully shown command into the README."""
    text = README.read_text()
    for command, wanted in shown(text):
        if wanted.startswith("...\n"):  # in place of the findings
            answer = output_of(command, answer_alone=True)
            text = text.replace(f"$ {command}\n{wanted}", f"$ {command}\n...\n{answer.rstrip()}\n")
        elif "...\n" not in wanted:
            text = text.replace(f"$ {command}\n{wanted}", f"$ {command}\n{output_of(command).rstrip()}\n")
    README.write_text(text)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(f"<svg{picture()}")


if __name__ == "__main__":
    rewrite()
    sys.exit(0)
