"""The recipes for CI: what each step runs is run here, where stackc is at hand and nothing is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.output.conftest import Project

SCHEMAS = {
    "action.yml": "vendor.github-actions",
    "docs/ci/github.yml": "vendor.github-workflows",
    "docs/ci/gitlab.yml": "vendor.gitlab-ci",
}


def recipe(path: str) -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / path).read_text())


@pytest.mark.parametrize("path", SCHEMAS)
def test_a_recipe_is_what_its_reader_takes(path: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[path], str(ROOT / path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """As a runner of GitHub does: `bash --noprofile --norc -eo pipefail {0}`."""
    program = folder / "stackc"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m tests.output.stackc_here "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), **variables}
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


def action(folder: Path, **inputs: str) -> tuple[list[int], str, str]:
    """Exit codes of the steps after the installation, all that they said, and the summary."""
    summary = folder / "summary"
    summary.touch()
    given = {"SPECS": "", "OUTPUT": "generated", "AGAINST": "", "GITHUB_STEP_SUMMARY": str(summary), **inputs}
    steps = recipe("action.yml")["runs"]["steps"][1:]
    done = [shell(step["run"], folder, **given) for step in steps]
    return [each.returncode for each in done], "".join(each.stdout + each.stderr for each in done), summary.read_text()


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


def change() -> None:
    spec = Path("stacks/tiny-cpu.yaml")
    spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))


def test_the_action_passes_what_is_current(project: Project, tools: Path) -> None:
    codes, told, summary = action(tools)
    assert codes == [0, 0], told
    assert "No stack changes." in summary


def test_the_action_fails_and_says_what_changed(project: Project, tools: Path) -> None:
    change()
    codes, told, summary = action(tools)
    assert codes == [0, 1]
    assert "::error title=E0602" in told
    assert "| tiny port | 8000 | 8100 |" in summary
    assert action(tools, SPECS="stacks/coder-5090.yaml")[0] == [0, 0]


def test_the_action_tells_what_a_pull_request_changes(project: Project, tools: Path) -> None:
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "base"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)
    change()
    assert shell("stackc compile", tools).returncode == 0
    codes, told, summary = action(tools, AGAINST="HEAD")
    assert codes == [0, 0], told
    assert "tiny restarts on upgrade: port" in summary


def test_a_word_of_an_input_is_no_program(project: Project, tools: Path) -> None:
    codes, _, _ = action(
        tools, SPECS="stacks/tiny-cpu.yaml;touch${IFS}gone $(touch gone) --output=/", AGAINST="$(touch gone)"
    )
    assert codes[1] == 2
    assert not Path("gone").exists()


def test_the_action_fails_where_a_spec_has_an_error(project: Project, tools: Path) -> None:
    Path("stacks/tiny-cpu.yaml").write_text("stack: x\n")
    codes, told, _ = action(tools)
    assert codes == [0, 1]
    assert "::error file=stacks/tiny-cpu.yaml,line=" in told


def test_the_job_of_gitlab(project: Project, tools: Path) -> None:
    (line,) = recipe("docs/ci/gitlab.yml")["stackc"]["script"]
    assert shell(line, tools).returncode == 0
    assert ET.parse("stackc.xml").getroot().get("failures") == "0"
    change()
    done = shell(line, tools)
    assert done.returncode == 1
    assert "tiny-cpu: tiny: port 8000 -> 8100" in done.stdout
    assert ET.parse("stackc.xml").getroot().get("failures") == "1"


def test_the_hooks_of_pre_commit(project: Project, tools: Path) -> None:
    check, compile_ = recipe(".pre-commit-hooks.yaml")
    assert shell(check["entry"], tools).returncode == 0
    change()
    assert shell(check["entry"], tools).returncode == 1
    assert shell(compile_["entry"], tools).returncode == 0
    assert shell(check["entry"], tools).returncode == 0


def test_generated_trees_keep_their_line_ends(project: Project, tools: Path) -> None:
    """A clone that rewrites line ends would make every file an edit by hand."""
    Path(".gitattributes").write_text((ROOT / ".gitattributes").read_text())
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", *identity, *words], check=True)
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "--quiet", ".", "clone"], check=True)
    os.chdir("clone")
    assert shell("stackc compile --check", tools).returncode == 0
