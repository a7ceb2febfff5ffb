"""Generated files that somebody edited: named, and written over only when asked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from compiler.emit import tree
from tests.output.conftest import Project, codes, run

VICTIM = "generated/tiny-cpu/bin/launch-tiny"


def edit(path: Path, text: str = "# mine\n") -> str:
    path.write_text(path.read_text() + text)
    return path.read_text()


def change_spec(name: str = "tiny-cpu") -> None:
    spec = Path("stacks", f"{name}.yaml")
    spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))


@pytest.mark.parametrize("name", ["bin/launch-tiny", "README.md", "compose/compose.yaml", "plan.json"])
@pytest.mark.parametrize("spec_changed", [False, True])
def test_an_edit_is_kept_until_force(project: Project, name: str, *, spec_changed: bool) -> None:
    if spec_changed:
        change_spec()
    victim = project / "generated/tiny-cpu" / name
    edited = edit(victim, "  \n" if name == "plan.json" else "# mine\n")
    refused = run("compile")
    assert refused.exit_code == 1
    assert f"error[E0606]: generated/tiny-cpu/{name} was edited by hand" in refused.stderr
    assert "`stackc compile --force` writes over it" in refused.stderr
    assert victim.read_text() == edited
    assert run("compile", "--force").exit_code == 0
    assert victim.read_text() != edited
    assert run("compile", "--check").exit_code == 0


def test_the_check_names_an_edit_as_such_and_its_line(project: Project) -> None:
    victim = project / VICTIM
    text = victim.read_text()
    victim.write_text(text.replace("--port 8000", "--port 9999"))
    line = next(number for number, each in enumerate(victim.read_text().splitlines(), 1) if "--port 9999" in each)
    result = run("compile", "--check", "--format", "json")
    (found,) = (each for each in json.loads(result.stdout)["diagnostics"] if each["severity"] == "error")
    assert (found["code"], found["file"], found["line"]) == ("E0606", VICTIM, line)
    assert "-  --port 9999\n+  --port 8000" in run("compile", "--check", "-v").stdout
    assert "9999\n" not in run("compile", "--check").stdout
    diff = run("diff")
    assert diff.exit_code == 4
    assert f"{VICTIM}: edited by hand" in diff.stdout


def test_an_edit_that_the_spec_now_says_too_is_lost_by_nobody(project: Project) -> None:
    old = {path: path.read_bytes() for path in (project / "generated/tiny-cpu").rglob("*") if path.is_file()}
    change_spec()
    assert run("compile").exit_code == 0
    new = (project / VICTIM).read_bytes()
    for path, content in old.items():
        path.write_bytes(content)
    (project / VICTIM).write_bytes(new)
    assert run("compile").exit_code == 0


def test_a_tree_of_an_older_release_is_nobody_s_edit(project: Project) -> None:
    """It is whole by its own manifest, whatever this release would write."""
    folder = project / "generated/tiny-cpu"
    victim = folder / "bin/launch-tiny"
    edit(victim, "# an older template\n")
    manifest = folder / "SHA256SUMS"
    lines = [line for line in manifest.read_text().splitlines() if not line.endswith("  bin/launch-tiny")]
    lines.append(f"{hashlib.sha256(victim.read_bytes()).hexdigest()}  bin/launch-tiny")
    manifest.write_text("".join(f"{line}\n" for line in lines))
    assert "E0606" not in run("compile", "--check").stderr
    assert run("compile").exit_code == 0


@pytest.mark.parametrize("where", ["bin/launch-tiny", "SHA256SUMS"])
def test_a_merge_with_conflicts_is_no_edit(project: Project, where: str) -> None:
    victim = project / "generated/tiny-cpu" / where
    lines = victim.read_text().splitlines(keepends=True)
    conflict = ["<<<<<<< HEAD\n", lines[2], "=======\n", lines[2], ">>>>>>> theirs\n"]
    victim.write_text("".join([*lines[:2], *conflict, *lines[3:]]))
    if where == "SHA256SUMS":
        edit(project / VICTIM)
    assert run("compile").exit_code == 0
    assert run("compile", "--check").exit_code == 0


def test_an_edit_in_a_tree_that_goes_is_kept_too(project: Project) -> None:
    (project / "stacks/tiny-cpu.yaml").unlink()
    edited = edit(project / VICTIM)
    assert codes(run("compile", "--format", "json")) == ["E0606"]
    assert set(codes(run("compile", "--check", "--format", "json"))) == {"E0602", "E0606"}
    assert (project / VICTIM).read_text() == edited
    assert run("compile", "--force").exit_code == 0
    assert not (project / "generated/tiny-cpu").exists()


def test_another_stack_s_edit_is_no_matter_of_a_named_spec(project: Project) -> None:
    edit(project / VICTIM)
    change_spec("coder-5090")
    assert run("compile", "stacks/coder-5090.yaml").exit_code == 0
    assert run("compile").exit_code == 1


def test_one_edit_keeps_all_trees(project: Project) -> None:
    edit(project / VICTIM)
    change_spec("coder-5090")
    before = (project / "generated/coder-5090/bin/launch-coder").read_bytes()
    assert run("compile").exit_code == 1
    assert (project / "generated/coder-5090/bin/launch-coder").read_bytes() == before


def test_an_edit_that_is_saved_while_the_tree_is_replaced_is_not_lost(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_spec()
    real, mine = tree._exchange, project / VICTIM
    saved: list[str] = []

    def save_first(first: Path, second: Path) -> None:
        if not saved:
            saved.append(edit(mine))
        real(first, second)

    monkeypatch.setattr(tree, "_exchange", save_first)
    result = run("compile", "--format", "json")
    assert (result.exit_code, codes(result)) == (3, ["E0601"])
    assert mine.read_text() == saved[0]


def test_force_alone_removes_nothing_that_is_foreign(project: Project) -> None:
    (project / "generated/tiny-cpu/notes").write_text("mine")
    assert codes(run("compile", "--force", "--format", "json")) == ["E0603"]
    assert (project / "generated/tiny-cpu/notes").exists()
