"""What a run says when nobody asks for more: a line for a code, errors whole, the result last."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest
from click.testing import CliRunner, Result

from compiler.cli.commands.fit import TASKS
from compiler.cli.commands.init import TASKS as STARTS
from compiler.cli.commands.schema import DOCUMENTS
from compiler.cli.main import COMMANDS, cli
from compiler.cli.report import exit_code
from compiler.cli.run import starters
from compiler.diagnostics import CODES, Diagnostic, Severity
from compiler.schemas.documents import SCHEMAS
from compiler.spec.services import Task
from tests.conftest import ROOT

MAY_PASS = {"E0311", "E0317", "E0601"}
"""Hub, registry and disk: docs/reference/exit-codes.md says so."""


def stackc(*words: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(cli, list(words))


# On a CPU and on GPUs, one server and two; they have every warning that a shipped stack has.
FEW = ("tiny-cpu", "coder-5090", "coder-96gb")


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some of the shipped stacks in a folder that is no repository."""
    (tmp_path / "stacks").mkdir()
    for name in FEW:
        for suffix in (".yaml", ".lock.yaml"):
            shutil.copy(ROOT / "stacks" / f"{name}{suffix}", tmp_path / "stacks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def every_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All of them, where what counts is how much is said."""
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_first_compile_fits_on_a_screen_and_ends_with_its_result(every_stack: Path) -> None:
    result = stackc("compile")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    trees = list(Path("generated").glob("**/plan.json"))
    assert len(lines) <= len(trees) + 15 <= 45
    heads = [line.partition(":")[0] for line in lines if line.startswith("warning")]
    assert len(heads) == len(set(heads)), "a code has one line"
    assert all("(generated/" in line for line in lines[-len(trees) :])
    assert re.search(r"\[W0301\]: \d\d × ", result.stderr)
    assert "-v shows where" in result.stderr


def test_verbose_hides_nothing_but_what_repeats_itself(stacks: Path) -> None:
    said = stackc("compile", "-v").stderr
    found = json.loads(stackc("compile", "--format", "json").stdout)["diagnostics"]
    assert said.count("warning[W0301]") == sum(each["code"] == "W0301" for each in found) > 1
    inherent = sum(each["code"] == "W0201" for each in found)
    assert said.count("warning[W0201]") == 1, "what is so of every stack is said once"
    assert f"the same holds of {inherent - 1} more" in said
    assert " --> stacks/" in said


def test_quiet_says_nothing_where_all_is_well_and_errors_whole(stacks: Path) -> None:
    assert stackc("compile", "-q").output == ""
    assert stackc("explain", "stacks/tiny-cpu.yaml", "-q").stderr == ""
    spec = stacks / "stacks" / "tiny-cpu.yaml"
    spec.write_text(spec.read_text().replace("port: 8000", "prot: 8000"))
    said = {stackc("compile", loud, str(spec)).stderr for loud in ("-q", "--no-help", "-v")}
    assert len(said) == 1
    assert "error[E0201]" in said.pop()
    assert stackc("compile", "-q", "-v").exit_code == 2


def test_a_level_of_this_run(stacks: Path) -> None:
    said = stackc("compile", "--warnings", "w0201=allow", "--warnings", "W0304=allow").stderr
    assert "W0201" not in said
    assert "W0304" not in said
    assert "W0301" in said
    result = stackc("compile", "--warnings", "W0301=deny")
    assert result.exit_code == 1
    assert "an error because of `--warnings W0301=deny`" in result.stderr


def test_every_warning_can_be_denied_but_for_those_with_a_level(stacks: Path) -> None:
    codes = {each["code"] for each in json.loads(stackc("compile", "--format", "json").stdout)["diagnostics"]}
    assert stackc("compile", "--deny-warnings").exit_code == 1
    levels = [word for code in codes for word in ("--warnings", f"{code}=allow")]
    assert stackc("compile", "--deny-warnings", *levels).exit_code == 0
    stackc("compile")
    Path("generated/tiny-cpu/README.md").write_text("edited\n")
    said = stackc("compile", "--check", "--deny-warnings", *levels).output
    assert "--deny-warnings --force` writes over it" in said


def test_programs_are_told_of_all_warnings_and_who_allowed_them(stacks: Path) -> None:
    words = ("compile", "--format", "json", "--warnings", "W0201=allow", "-q")
    found = json.loads(stackc(*words).stdout)["diagnostics"]
    allowed = {each["code"]: each["allowed_by"] for each in found}
    assert allowed["W0201"] == "--warnings W0201=allow"
    assert allowed["W0301"] is None


@pytest.mark.parametrize("form", ["github", "sarif", "junit"])
def test_what_is_allowed_is_in_no_report(stacks: Path, form: str) -> None:
    said = stackc("compile", "--format", form, "--warnings", "W0201=allow").stdout
    assert "W0201" not in said
    assert "W0301" in said


def test_verbose_gives_every_figure_its_source_too(stacks: Path) -> None:
    for words in (("explain", "stacks/tiny-cpu.yaml"), ("plan", "stacks/tiny-cpu.yaml")):
        said, whole = stackc(*words), stackc(*words, "-v")
        assert "kv_cache_interface.py" in whole.stdout
        assert "kv_cache_interface.py" not in said.stdout
        assert " --> stacks/" in whole.stderr
        assert " --> stacks/" not in said.stderr


@pytest.mark.parametrize("pair", ["W0301", "W0301=", "W0301=off", "E0401=allow", "=deny", "W9999=warn"])
def test_what_is_no_level_is_a_usage_error(stacks: Path, pair: str) -> None:
    assert stackc("compile", "--warnings", pair).exit_code == 2


SETTINGS = {
    "stackc.yaml": "warnings: {W0201: allow, W0301: deny}\n",
    "pyproject.toml": "[tool.other]\nx = 1\n[tool.stackc.warnings]\nW0201 = 'allow'\nW0301 = 'deny'\n",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_repository_sets_levels_and_the_command_line_wins(stacks: Path, name: str) -> None:
    (stacks / ".git").mkdir()
    (stacks / name).write_text(SETTINGS[name])
    result = stackc("compile")
    assert result.exit_code == 1
    assert f"warnings: {{W0301: deny}} in {name}" in result.stderr
    assert "W0201" not in result.stderr
    assert stackc("compile", "--warnings", "W0301=warn").exit_code == 0


def test_settings_are_those_of_the_spec_s_repository_and_of_no_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "repository" / "deep" / "stacks"
    shutil.copytree(ROOT / "stacks", below)
    (tmp_path / "stackc.yaml").write_text("deny_warnings: true\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    spec = str(below / "tiny-cpu.yaml")
    assert stackc("explain", spec).exit_code == 0, "without a repository, nothing above is looked at"
    (tmp_path / "repository" / ".git").mkdir()
    assert stackc("explain", spec).exit_code == 0
    (tmp_path / "repository" / "stackc.yaml").write_text("deny_warnings: true\n")
    result = stackc("explain", spec)
    assert result.exit_code == 1
    assert "deny_warnings: true in stackc.yaml" in result.stderr
    (below / "stackc.yaml").write_text("deny_warnings: false\n")
    assert stackc("explain", spec).exit_code == 0, "the nearest counts"


@pytest.mark.parametrize(
    "text", ["warnings: [W0301]", "warnings: {W9999: deny}", "warnings: {W0301: no}", "warning: {}", "- x", "x: [", ""]
)
def test_settings_that_cannot_be_used_are_told(stacks: Path, text: str) -> None:
    (stacks / "stackc.yaml").write_text(text)
    result = stackc("compile")
    assert result.exit_code == 2
    assert "stackc.yaml" in result.stderr


def test_settings_beside_the_specs_are_no_spec(stacks: Path) -> None:
    (stacks / "stacks" / "stackc.yaml").write_text("warnings: {W0301: allow}\n")
    result = stackc("compile")
    assert result.exit_code == 0, result.output
    assert "W0301" not in result.stderr


def test_a_check_of_one_changed_number_fits_on_a_screen(stacks: Path) -> None:
    stackc("compile")
    spec = stacks / "stacks" / "coder-96gb.yaml"
    spec.write_text(spec.read_text().replace("concurrency: 4", "concurrency: 3"))
    result = stackc("compile", "--check")
    assert result.exit_code == 1
    assert len(result.output.splitlines()) <= 25
    assert "error[E0602]: generated/coder-96gb: " in result.stderr
    verbose = stackc("compile", "--check", "-v")
    assert "plan.json (on disk)" in verbose.stdout
    assert "plan.json (on disk)" not in result.output
    found = json.loads(stackc("compile", "--check", "--format", "json").stdout)["diagnostics"]
    drifts = [each["message"] for each in found if each["code"] == "E0602"]
    assert drifts
    assert all(message in verbose.stderr for message in drifts)


@pytest.fixture
def every_tree(every_stack: Path) -> Path:
    """And what they compile to."""
    shutil.copytree(ROOT / "generated", every_stack / "generated", symlinks=True)
    return every_stack


def test_a_check_of_every_stack_fits_on_a_screen_too(every_tree: Path) -> None:
    edited = [path for path in (every_tree / "generated").glob("*/*.md") if (path.parent / "plan.json").exists()]
    for path in edited:
        path.write_text("edited\n")
    result = stackc("compile", "--check")
    assert len(result.output.splitlines()) <= 30
    trees = len(edited)
    assert f"error[E0606]: {trees} × " in result.stderr
    assert "which -v shows" in result.stderr
    assert stackc("compile", "--check", "-v").stderr.count("was edited by hand") == trees
    found = json.loads(stackc("compile", "--check", "--format", "json").stdout)["diagnostics"]
    assert sum(each["code"] == "E0606" for each in found) == trees


def test_a_check_after_a_change_of_every_stack_fits_on_a_screen_too(every_tree: Path) -> None:
    for path in (every_tree / "stacks").glob("*.yaml"):
        if "lock" not in path.name:
            path.write_text(path.read_text().replace("\n    port: ", "\n    port: 1").replace(" port: 8", " port: 18"))
    result = stackc("compile", "--check")
    assert result.exit_code == 1
    assert "error[E0602]" in result.stderr, result.output
    assert len(result.output.splitlines()) <= 30


@pytest.mark.parametrize(("name", "is_coloured"), [("FORCE_COLOR", True), ("NO_COLOR", False), ("X", False)])
def test_colour_is_for_terminals_and_as_the_environment_says(stacks: Path, name: str, *, is_coloured: bool) -> None:
    assert ("\x1b[" in stackc("compile", **{name: "1"}).stderr) is is_coloured
    assert "\x1b[" not in stackc("compile", "--format", "json", FORCE_COLOR="1").output


def test_without_specs_it_says_how_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = stackc()
    assert result.exit_code == 2
    assert "stackc fit MODEL" in result.output
    assert "stackc init" in result.output
    assert "stackc lock" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert "`stackc init` writes one" in stackc("compile").output


def test_python_runs_it_by_its_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stackc"]
    alone = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert "stackc fit MODEL" in alone.stdout
    assert alone.returncode == 2
    told = subprocess.run([*command, "explain", "E0401"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("# E0401")


@pytest.mark.parametrize("code", [code for code, each in CODES.items() if each.severity is Severity.ERROR])
def test_only_what_may_pass_by_itself_is_worth_a_retry(code: str) -> None:
    assert exit_code((Diagnostic(code, "x"),)) == (3 if code in MAY_PASS else 1)


HEAVY = ("pydantic", "jinja2", "ruamel", "huggingface_hub", "httpx", "rich", "compiler.pipeline",
         "compiler.solve", "compiler.checkpoints", "compiler.engines", "compiler.spec", "pygls", "compiler.lock",
         "compiler.targets")  # fmt: skip
QUICK = [*([name, "--help"] for name in COMMANDS), ["explain", "E0401"], ["explain"], ["gpus"], ["--help"], []]


# Each command in a copy of one process that has read no more than the command line's own module.
MODULES = """\
import contextlib, io, os, sys
from compiler.cli.main import main
for words in {commands}:
    if not os.fork():
        sys.argv = ["stackc", *words]
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            main()
        os.write(1, (" ".join(sys.modules) + "\\n").encode())
        os._exit(0)
    os.wait()
"""


def test_what_needs_no_compiler_imports_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MODULES.format(commands=QUICK)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert len(said.splitlines()) == len(QUICK)
    for words, line in zip(QUICK, said.splitlines(), strict=True):
        modules = set(line.split())
        assert "click" in modules
        assert not modules & set(HEAVY), words


def test_the_tasks_of_a_question_are_those_of_a_spec() -> None:
    assert get_args(Task) == TASKS


def test_words_of_help_are_those_of_what_it_does_not_import() -> None:
    assert tuple(starters.TASKS) == STARTS
    assert tuple(SCHEMAS) == DOCUMENTS


def test_commands_that_solve_and_warn_take_the_same_options() -> None:
    for name in ("compile", "diff", "explain", "fit", "plan", "report"):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        words = {word for option in command.params for word in option.opts}
        assert words >= {
            "--warnings",
            "--deny",
            "--deny-warnings",
            "--quiet",
            "-q",
            "--verbose",
            "-v",
            "--no-help",
            "--trials",
        }
