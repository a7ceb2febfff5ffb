"""What shells offer, asked by click's own protocol, and of the shells that are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from compiler.catalog.gpus import GPUS
from compiler.cli.commands.completion import SHELLS
from compiler.cli.main import COMMANDS, cli
from compiler.diagnostics import CODES
from tests.conftest import ROOT, missing


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def offered(*words: str) -> list[str]:
    """Words for the last of `words`."""
    completes = ShellComplete(cli, {}, "stackc", "_STACKC_COMPLETE")
    return [item.value for item in completes.get_completions(list(words[:-1]), words[-1])]


def test_commands_are_offered_without_importing_them() -> None:
    assert set(offered("")) == COMMANDS.keys()
    code = (
        "from tests.unit.test_completion import offered; import sys; offered('c'); assert 'pydantic' not in sys.modules"
    )
    code = code.replace("from tests.unit.test_completion import offered", _OFFERED)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


_OFFERED = (
    "from click.shell_completion import ShellComplete as C; from compiler.cli.main import cli; "
    "offered = lambda word: C(cli, {}, 'stackc', '_STACKC_COMPLETE').get_completions([], word)"
)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("fit", "x", "--gpu", "rtx-4090"), ["rtx-4090"]),
        (("calibrate", "x.log", "--gpu", "a10"), [name for name in GPUS if name.startswith("a10")]),
        (("fit", "x", "--gpu", "h100-80gb", "--mig", "3g"), ["3g.40gb"]),
        (("explain", "E040"), sorted(code for code in CODES if code.startswith("E040"))),
        (("explain", "e0401"), ["E0401"]),
        (("explain", "stacks/tiny"), ["stacks/tiny-cpu.yaml"]),
        (("explain", "stacks/tiny-cpu.yaml"), ["stacks/tiny-cpu.yaml", "stacks/tiny-cpu.yaml:tiny"]),
        (("explain", "stacks/coder-96gb.yaml:g"), ["stacks/coder-96gb.yaml:general"]),
        (("compile", "stacks/b"), ["stacks/budget-a10.yaml"]),
        (("sbom", "stacks/b"), ["stacks/budget-a10.yaml"]),
        (("images", "stacks/b"), ["stacks/budget-a10.yaml"]),
        (("lock", "stacks/coder-96gb.yaml", "--upgrade-service", ""), ["coder", "general"]),
        (("lock", "--upgrade-service", "t"), ["tiny"]),
        (("fit", "HuggingFaceTB/"), ["HuggingFaceTB/SmolLM2-135M-Instruct"]),
        (("compile", "--deny", "W030"), [code for code in CODES if code.startswith("W030")]),
        (("compile", "--deny", "E"), []),
        (("completion", ""), list(SHELLS)),
        (("schema", "p"), ["plan"]),
    ],
)
def test_words_are_offered(words: tuple[str, ...], wanted: list[str]) -> None:
    assert sorted(offered(*words)) == sorted(wanted)


def test_locks_are_no_specs() -> None:
    assert not [word for word in offered("compile", "stacks/") if ".lock." in word]


@pytest.mark.parametrize("content", [b"\xff", b"services: [", b"services: 1", b"[]", b"", b"services: {a: }"])
def test_what_cannot_be_read_offers_nothing(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "x.yaml").write_bytes(content)
    (tmp_path / "stacks" / "x.lock.yaml").write_bytes(content)
    expected = ["a"] if b"a:" in content else []
    assert offered("lock", "--upgrade-service", "") == expected
    assert offered("fit", "x/") == ["x/"]  # a folder, by the shell


def test_an_empty_folder_offers_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    completes = ShellComplete(cli, {}, "stackc", "_STACKC_COMPLETE")
    assert [item.type for item in completes.get_completions(["compile"], "x")] == ["file"]


def script(shell: str) -> str:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    return result.output


# Each prints what it offers for `stackc fit x --gpu rtx-40`.
ASKING = {
    "bash": """
        {script}
        COMP_WORDS=(stackc fit x --gpu rtx-409); COMP_CWORD=4
        _stackc_completion stackc; printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": """
        compdef() {{ : }}; compadd() {{ print -l -- "$@" }}; _describe() {{ print -l -- ${{(P)3}} }}
        {script}
        words=(stackc fit x --gpu rtx-409); CURRENT=5
        _stackc_completion
    """,
    "fish": """
        {script}
        complete --do-complete "stackc fit x --gpu rtx-409"
    """,
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        missing(f"{shell} is not installed")
    (tmp_path / "stackc").write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'stackc'\nfrom compiler.cli.main import main\nmain()\n"
    )
    (tmp_path / "stackc").chmod(0o755)
    asking = ASKING[shell].format(script=script(shell))
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }
    found = subprocess.run(
        [program, "-c", asking], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "rtx-4090" in found.stdout, found.stderr


def test_a_shell_that_nobody_knows_is_refused() -> None:
    result = CliRunner().invoke(cli, ["completion", "csh"])
    assert result.exit_code == click.UsageError.exit_code
