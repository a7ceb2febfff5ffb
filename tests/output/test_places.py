"""Where `--output` must not be: a slip must cost a line, not a project."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from compiler.emit import place
from tests.output.conftest import Project, run


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def assert_refused(project: Project, output: str, *more: str) -> None:
    before = everything(project.parent)
    for flags in ((), ("--prune",), ("--check",), ("stacks/tiny-cpu.yaml", "--prune")):
        result = run("compile", "--output", output, *more, *flags)
        assert result.exit_code == 2, (output, flags, result.output)
        assert "is not for generated trees alone" in result.stderr
        assert "--prune" not in result.stderr, "what stackc recommends must not cost a project"
    assert everything(project.parent) == before


@pytest.mark.parametrize(
    "output",
    [
        *(".", "..", "./", "stacks", "stacks/generated", "stacks/../stacks", "generated/..", "generated/../../project"),
        *("generated/tiny-cpu", "generated/tiny-cpu/bin", "generated/tiny-cpu/new/deeper", ".git/generated"),
    ],
)
def test_an_output_among_what_the_run_reads(project: Project, output: str) -> None:
    (project / ".git").mkdir()
    (project / ".git" / "HEAD").write_text("ref")
    assert_refused(project, output)
    assert_refused(project, os.path.abspath(output))  # noqa: PTH100 - as somebody may spell it


@pytest.mark.parametrize("target", [".", "stacks", "..", "generated/tiny-cpu"])
def test_an_output_that_is_a_link_to_such_a_place(project: Project, target: str) -> None:
    (project / "link").symlink_to(target)
    assert_refused(project, "link")
    (project / "second").symlink_to(project / "link")
    assert_refused(project, "second/")


def test_an_output_that_is_the_same_folder_under_another_name(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second mount of a folder, or a file system that takes upper and lower case for one."""
    other = project.parent / "PROJECT"
    other.mkdir()
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: real(project if path == other else path, **how))
    reason = place.refusal(other, [])
    assert reason is not None
    assert "working folder" in reason


@pytest.mark.parametrize("name", [".git", ".hg", ".svn"])
def test_an_output_that_is_somebody_s_repository(project: Project, name: str) -> None:
    (project.parent / "site" / name).mkdir(parents=True)
    (project.parent / "site" / "thesis").write_text("mine")
    assert_refused(project, "../site")


def test_an_output_with_specs_of_another_project(project: Project) -> None:
    (project.parent / "site" / "stacks").mkdir(parents=True)
    (project.parent / "site" / "stacks" / "chat.yaml").write_text("stack: chat\n")
    assert_refused(project, "../site")


def test_an_output_that_holds_templates_or_lies_among_them(project: Project) -> None:
    (project / "site" / "templates").mkdir(parents=True)
    assert_refused(project, "site", "--templates", "site/templates")
    assert_refused(project, "site/templates", "--templates", "site/templates")
    assert_refused(project, "site/templates/generated", "--templates", "site/templates")


@pytest.mark.parametrize("is_link", [False, True])
def test_an_output_that_holds_a_spec_or_its_calibration(project: Project, *, is_link: bool) -> None:
    spec = project / "stacks" / "coder-5090.yaml"
    (project / "deploy").mkdir()
    where, away = project / "deploy" / "card.yaml", project / "card.yaml"
    text = "engine: 0.33.0\ngpu: rtx-5090\nmodels: []\ncomponents: {}\n"
    (away if is_link else where).write_text(text)
    if is_link:
        where.symlink_to(away)
    spec.write_text(spec.read_text().replace("{vllm: 0.33.0}", "{vllm: 0.33.0, calibration: ../deploy/card.yaml}"))
    before = everything(project)
    assert run("compile", "--output", "deploy", "--prune").exit_code == 2
    assert run("compile", "deploy/card.yaml", "--output", "deploy").exit_code == 2
    assert everything(project) == before


@pytest.mark.parametrize(
    "output",
    [
        *("/", "//", "/etc", "/etc/stackc", "/usr", "/usr/bin", "/usr/lib/x", "/bin/../usr", "/dev", "/proc/self"),
        *("/sys", "/boot", "/var", "/var/lib", "/home", "/home/nobody-known", "/root", "/tmp", "/opt", "/srv", "/run"),
        *("~", "/tmp/..", "/usr/local", "/var/tmp"),
    ],
)
def test_an_output_that_is_the_system_s_or_a_home(output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert place.refusal(Path(output).expanduser(), []) is not None


def test_an_output_that_is_any_user_s_home_or_holds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = pwd.struct_passwd(("ann", "x", 4242, 4242, "", str(tmp_path / "people" / "ann"), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [user])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for output in ("people", "people/ann", "me"):
        assert place.refusal(Path(output), []) is not None, output
    assert place.refusal(Path("people/ann/generated"), []) is None


def test_an_output_that_is_a_whole_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path / "disk"))
    reason = place.refusal(tmp_path / "disk", [])
    assert reason is not None
    assert "mount point" in reason
    assert place.refusal(tmp_path / "disk" / "generated", []) is None


def test_a_working_folder_that_is_gone_is_a_usage_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    result = run("compile", str(project / "stacks" / "tiny-cpu.yaml"), "--output", str(project / "generated"))
    assert result.exit_code == 2
    assert "the working folder is gone" in result.stderr


def test_stackc_itself(tmp_path: Path) -> None:
    code = Path(place.__file__).parents[1]
    for output in (code, code / "generated", code.parent):
        assert place.refusal(output, []) is not None


@pytest.mark.parametrize("output", ["generated", "deploy/trees", "../deploy", "linked"])
def test_other_places_are_fine(project: Project, output: str) -> None:
    (project.parent / "elsewhere").mkdir()
    (project / "linked").symlink_to("../elsewhere")
    assert run("compile", "--output", output).exit_code == 0
    assert run("compile", "--output", output, "--check", "--prune").exit_code == 0
