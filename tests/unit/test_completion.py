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

from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.bash import WholeWords
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
        (("lock", "--upgrade-service", "tin"), ["tiny"]),
        (("fit", "HuggingFaceTB/"), ["HuggingFaceTB/SmolLM2-135M-Instruct"]),
        (("compile", "--deny", "W030"), [code for code in CODES if code.startswith("W030")]),
        (("compile", "--deny", "E"), []),
        (("compile", "--warnings", "W030"), [code for code in CODES if code.startswith("W030")]),
        (("compile", "--warnings", "W0301"), ["W0301=allow", "W0301=deny", "W0301=warn"]),
        (("images", "--warnings", "W0304=d"), ["W0304=deny"]),
        (("compile", "--warnings", "W=d"), []),
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


@pytest.mark.parametrize(
    ("cut", "answer"),
    [
        ("compile --warnings W0301 =", ["allow", "warn", "deny"]),
        ("compile --warnings W0301 = de", ["deny"]),
        ("compile --warnings W0301=de", ["W0301=deny"]),
        ("fit x --gpu = rtx-409", ["rtx-4090"]),
        ("explain stacks/coder-96gb.yaml : g", ["general"]),
        ("compile --warnings W0301 = deny stacks/b", ["stacks/budget-a10.yaml"]),
    ],
)
def test_bash_cuts_words_and_gets_what_belongs_behind_the_cut(
    cut: str, answer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offered the whole word, it would put `W0301=W0301=deny` on the line; the last row has no cut in its word."""
    monkeypatch.setenv("COMP_WORDS", f"stackc {cut}")
    monkeypatch.setenv("COMP_CWORD", str(len(cut.split())))
    assert WholeWords(cli, {}, "stackc", "_STACKC_COMPLETE").complete().splitlines() == [f"plain,{w}" for w in answer]


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
    found = asked_of(program, ASKING[shell].format(script=script(shell)), tmp_path)
    assert "rtx-4090" in found


def asked_of(program: str, asking: str, folder: Path) -> str:
    """What a shell prints that has stackc in its path."""
    (folder / "stackc").write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'stackc'\nfrom compiler.cli.main import main\nmain()\n"
    )
    (folder / "stackc").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
    }
    found = subprocess.run(
        [program, "-c", asking], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_real_bash_is_answered_behind_the_cut(tmp_path: Path) -> None:
    """What the program itself registers, not only the class: bash has cut `W0301=de` into three words."""
    if (bash := shutil.which("bash")) is None:
        missing("bash is not installed")
    asking = "COMP_WORDS=(stackc plan --warnings W0301 = de); COMP_CWORD=5; _stackc_completion stackc"
    asking = f"{script('bash')}\n{asking}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    assert asked_of(bash, asking, tmp_path).splitlines() == ["deny"]


def test_a_shell_that_nobody_knows_is_refused() -> None:
    result = CliRunner().invoke(cli, ["completion", "csh"])
    assert result.exit_code == click.UsageError.exit_code
