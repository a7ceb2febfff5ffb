"""`stackc diff`, and what `compile --check` says first."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from compiler.compare.render import WIDTH
from tests.output.conftest import Project, run


def change(name: str = "coder-5090", old: str = "port: 8000", new: str = "port: 8100") -> None:
    spec = Path("stacks", f"{name}.yaml")
    assert old in spec.read_text()
    spec.write_text(spec.read_text().replace(old, new))


def git(*words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True, text=True
    )


@pytest.fixture
def repository(project: Project) -> Project:
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")
    return project


def test_nothing_changed_is_said_and_is_fine(project: Project) -> None:
    result = run("diff")
    assert (result.exit_code, result.stdout) == (0, "generated is what the specs say\n")


def test_one_changed_number_is_few_lines_and_the_first_says_what(project: Project) -> None:
    """It was 1,929 lines, the first sixty of them checksums."""
    change()
    result = run("compile", "--check")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "coder-5090: coder: port 8000 -> 8100"
    findings = [each for each in result.stderr.split("\n\n") if each.strip()]
    errors = [each for each in findings if each.startswith("error")]
    assert len(errors) == 1
    told = result.stdout.splitlines() + [line for each in errors for line in each.splitlines()]
    assert len(told) <= 25
    assert all(len(line) <= WIDTH for line in result.stdout.splitlines())
    assert "--- " not in result.stdout
    assert "--- " in run("compile", "--check", "-v").stdout


def test_every_stack_changed_is_few_lines_too(project: Project) -> None:
    for name in ("coder-5090", "tiny-cpu"):
        change(name)
    assert len(run("compile", "--check").stdout.splitlines()) <= 20


def test_what_restarts_is_said(project: Project) -> None:
    change()
    result = run("diff")
    assert result.exit_code == 4
    assert "coder-5090: coder restarts on upgrade: port" in result.stdout


def test_nothing_is_written(project: Project) -> None:
    change()
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    assert run("diff").exit_code == 4
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before


def test_an_error_in_a_spec_is_no_difference(project: Project) -> None:
    change(old="context:", new="contexts:")
    result = run("diff")
    assert result.exit_code == 1
    assert "E0201" in result.stderr


@pytest.mark.parametrize("command", [("diff",), ("compile", "--check")])
def test_json_has_the_differences(project: Project, command: tuple[str, ...]) -> None:
    change()
    answer = json.loads(run(*command, "--format", "json").stdout)
    (tree,) = answer["differences"]
    assert tree["tree"] == "coder-5090"
    ports = [each for each in tree["changes"] if each["path"] == ["services", "coder", "port"]]
    assert [(each["before"], each["after"]) for each in ports] == [(8000, 8100)]
    assert tree["restarts"][0]["unit"] == "coder-5090-coder.service"
    assert ["services", "coder", "port"] in tree["restarts"][0]["because"]


def test_markdown_for_a_review(project: Project) -> None:
    change()
    result = run("diff", "--format", "markdown")
    assert result.stdout.startswith("### `coder-5090` changed\n")
    assert "| coder port | 8000 | 8100 |" in result.stdout


def test_stacks_that_came_and_went(project: Project) -> None:
    Path("stacks/tiny-cpu.yaml").unlink()
    assert "tiny-cpu: removed, " in run("diff").stdout
    assert run("diff", "stacks/coder-5090.yaml").exit_code == 0
    (project / "empty").mkdir()
    assert "coder-5090: added, " in run("diff", "--output", "empty").stdout
    assert "coder-5090: added, " in run("diff", "--output", "none").stdout


def test_against_a_commit_what_is_on_disk_does_not_matter(repository: Project) -> None:
    change()
    assert run("compile").exit_code == 0
    assert run("diff").exit_code == 0
    result = run("diff", "--against", "HEAD")
    assert result.exit_code == 4
    assert "coder-5090: coder: port 8000 -> 8100" in result.stdout
    git("commit", "--all", "--quiet", "--message", "port")
    assert run("diff", "--against", "HEAD").exit_code == 0
    assert run("diff", "--against", "HEAD~1").exit_code == 4
    Path("stacks/tiny-cpu.yaml").unlink()
    assert "tiny-cpu: removed" in run("diff", "--against", "HEAD").stdout


def test_against_works_below_the_top_of_a_repository_and_through_a_link(repository: Project) -> None:
    (repository / "link").symlink_to("generated")
    assert run("diff", "--against", "HEAD", "--output", str(repository / "generated")).exit_code == 0
    inner = repository / "deploy"
    inner.mkdir()
    for name in ("stacks", "generated"):
        git("mv", name, f"deploy/{name}")
    git("commit", "--quiet", "--message", "moved")
    os.chdir(inner)
    assert run("diff", "--against", "HEAD").exit_code == 0


@pytest.mark.parametrize("ref", ["nope", "--upload-pack=x", "-h", "HEAD:generated", "", "a b", "HEAD~99", "@{-1}"])
def test_a_ref_that_is_none_is_a_usage_error(repository: Project, ref: str) -> None:
    result = run("diff", f"--against={ref}")
    assert result.exit_code == 2
    assert "is no commit" in result.stderr


def test_an_output_that_the_commit_has_not(repository: Project) -> None:
    result = run("diff", "--against", "HEAD", "--output", "elsewhere")
    assert result.exit_code == 2
    assert "HEAD has no folder elsewhere" in result.stderr


def test_without_a_repository_or_without_git(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    result = run("diff", "--against", "HEAD")
    assert result.exit_code == 2
    assert "is in no repository that git can read" in result.stderr
    monkeypatch.setenv("PATH", "/nonexistent")
    result = run("diff", "--against", "HEAD")
    assert result.exit_code == 2
    assert "there is no git here" in result.stderr
