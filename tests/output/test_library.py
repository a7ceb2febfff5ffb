"""What all trees share: it stands once, no tree is ever without it, and nothing of anybody else's is lost for it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from compiler.emit import turns
from tests.conftest import tool
from tests.output import releases
from tests.output.conftest import NAMES, Project, codes, run

STORE = Path("generated/_lib")


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is that of whatever release `releases.become` asks for."""
    monkeypatch.setattr("compiler.pipeline.emit_requirements", releases._emit)


def libraries() -> list[str]:
    return sorted(path.name for path in STORE.iterdir())


def library() -> Path:
    (found,) = STORE.iterdir()
    return found


def errors(*arguments: str) -> list[tuple[str, str]]:
    """Code and first words of each error."""
    found = json.loads(run(*arguments, "--format", "json").stdout)["diagnostics"]
    return [(each["code"], each["message"].split(" ")[0].rstrip(":")) for each in found if each["severity"] == "error"]


def verify(tree: Path) -> None:
    subprocess.run([tool("sha256sum"), "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=tree, check=True)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_library_stands_once_and_its_name_says_what_it_holds(project: Project) -> None:
    name = hashlib.sha256((library() / "SHA256SUMS").read_bytes()).hexdigest()[:12]
    assert libraries() == [name]
    verify(library())
    for tree in (project / "generated" / name for name in NAMES):
        assert (tree / "lib").readlink() == Path("../_lib", name)
        verify(tree)


def test_a_copy_that_follows_links_is_whole(project: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-rL", "generated/tiny-cpu", copy], check=True)
    assert not [path for path in copy.rglob("*") if path.is_symlink()]
    verify(copy)


def test_a_clone_has_its_links(project: Project) -> None:
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)
    subprocess.run(["git", "clone", "--quiet", ".", "clone"], check=True)
    os.chdir("clone")
    assert run("compile", "--check").exit_code == 0


def test_another_release_brings_another_library_and_the_old_one_goes(project: Project) -> None:
    old = library()
    releases.become("2")
    assert errors("compile", "--check").count(("E0602", str(old))) == 1
    result = run("compile")
    assert f"{old}: removed, no tree needs it" in result.stdout
    assert library().name != old.name
    assert run("compile", "--check").exit_code == 0


def test_a_run_for_one_spec_leaves_the_library_of_the_others(project: Project) -> None:
    old = library().name
    releases.become("2")
    assert "no tree needs" not in run("compile", "stacks/tiny-cpu.yaml").stdout
    assert len(libraries()) == 2
    verify(project / "generated/coder-5090")
    assert run("compile", "stacks/coder-5090.yaml").exit_code == 0
    assert old not in libraries(), "the last tree that needed it is another now"


def test_a_library_that_a_folder_of_somebody_leads_to_stays(project: Project) -> None:
    old = library().name
    mine = project / "generated/mine"
    mine.mkdir()
    (mine / "lib").symlink_to(f"../_lib/{old}")
    releases.become("2")
    for name in NAMES:
        assert run("compile", f"stacks/{name}.yaml").exit_code == 0
    assert old in libraries()


def test_where_others_may_be_writing_no_library_is_removed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs may be a tree that leads there and is not in its place yet."""
    monkeypatch.setattr(turns, "_lock", lambda *_: False)
    releases.become("2")
    assert "no tree needs" not in run("compile").stdout
    assert len(libraries()) == 2


def edit(path: Path, text: str = "# mine\n") -> None:
    path.write_text(path.read_text() + text)


def test_an_edit_in_the_library_is_told_once_and_kept_until_force(project: Project) -> None:
    victim = next((library() / "requirements").iterdir())
    edit(victim)
    for command in (("compile",), ("compile", "--check"), ("compile", "stacks/tiny-cpu.yaml")):
        assert errors(*command) == [("E0606", str(victim))]
    assert "edited by hand" in run("diff").stdout
    assert victim.read_text().endswith("# mine\n")
    assert run("compile", "--force").exit_code == 0
    assert run("compile", "--check").exit_code == 0


def test_an_edit_beside_a_manifest_that_is_gone_is_kept_too(project: Project) -> None:
    victim = next((library() / "requirements").iterdir())
    edit(victim)
    (library() / "SHA256SUMS").unlink()
    assert errors("compile") == [("E0606", str(victim))]
    assert run("compile", "--force").exit_code == 0
    assert run("compile", "--check").exit_code == 0


@pytest.mark.parametrize("is_one", [False, True])
def test_what_is_somebody_s_in_a_library_that_goes_is_kept_until_it_may_be_lost(
    project: Project, *, is_one: bool
) -> None:
    if is_one:
        (project / "stacks/coder-5090.yaml").unlink()
        assert run("compile").exit_code == 0
    specs = ("stacks/tiny-cpu.yaml",) if is_one else ()
    old = library()
    edited, mine = next((old / "requirements").iterdir()), old / "notes"
    edit(edited)
    mine.write_text("mine")
    releases.become("2")
    assert errors("compile", *specs) == [("E0603", str(mine)), ("E0606", str(edited))]
    assert errors("compile", *specs, "--prune") == [("E0606", str(edited))]
    assert errors("compile", *specs, "--force") == [("E0603", str(mine))]
    assert mine.read_text() == "mine"
    assert run("compile", *specs, "--prune", "--force").exit_code == 0
    assert not old.exists()


def test_a_run_for_one_spec_says_nothing_of_a_library_that_is_not_its_own(project: Project) -> None:
    """Others left it, and somebody put a file there: it stays, and the next run for all tells."""
    old = library()
    shutil.copytree(old, "kept")
    releases.become("2")
    assert run("compile").exit_code == 0
    shutil.move("kept", old)
    (old / "notes").write_text("mine")
    assert run("compile", "stacks/tiny-cpu.yaml").exit_code == 0
    assert errors("compile") == [("E0603", str(old / "notes"))]
    (old / "notes").unlink()
    assert f"{old}: removed" in run("compile", "stacks/tiny-cpu.yaml").stdout


DAMAGE = {
    "all": lambda folder: shutil.rmtree(folder.parent),
    "the library": shutil.rmtree,
    "a file": lambda folder: next((folder / "requirements").iterdir()).unlink(),
    "its files": lambda folder: shutil.rmtree(folder / "requirements"),
    "its manifest": lambda folder: (folder / "SHA256SUMS").unlink(),
    "a line of its manifest": lambda folder: (folder / "SHA256SUMS").write_text("x\n"),
    "a mode": lambda folder: (folder / "requirements").chmod(0o700),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_damaged_is_told_once_and_written_anew(project: Project, what: str) -> None:
    DAMAGE[what](folder := library())
    assert [code for code, path in errors("compile", "--check") if path.startswith(str(folder))] == ["E0602"]
    assert run("compile", "stacks/tiny-cpu.yaml").exit_code == 0
    assert run("compile", "--check").exit_code == 0
    verify(library())


def dereference(link: Path) -> None:
    real = link.resolve()
    link.unlink()
    shutil.copytree(real, link)


LINKS = {
    "missing": Path.unlink,
    "elsewhere": lambda link: (link.unlink(), link.symlink_to("/etc")),
    "absolute": lambda link: (target := link.resolve(), link.unlink(), link.symlink_to(target)),
    "dangling": lambda link: (link.unlink(), link.symlink_to("../_lib/0123456789ab")),
    "a folder": dereference,
    "a file": lambda link: (text := str(link.readlink()), link.unlink(), link.write_text(text)),
}


@pytest.mark.parametrize("what", LINKS)
def test_a_link_that_is_none_or_another_is_told_and_mended(project: Project, what: str) -> None:
    link = project / "generated/tiny-cpu/lib"
    LINKS[what](link)
    assert errors("compile", "--check") == [("E0602", "generated/tiny-cpu/lib")]
    result = run("compile")
    assert (result.exit_code, "tiny-cpu, unchanged" in result.stdout) == (0, False), result.output
    assert run("compile", "--check").exit_code == 0


def test_what_is_somebody_s_in_a_copy_that_followed_links_is_kept(project: Project) -> None:
    link = project / "generated/tiny-cpu/lib"
    dereference(link)
    (link / "notes").write_text("mine")
    edited = next((link / "requirements").iterdir())
    edit(edited)
    found = [(code, Path(path).name) for code, path in errors("compile")]
    assert found == [("E0603", "notes"), ("E0606", edited.name)]


def test_nothing_behind_a_link_is_written_or_removed(project: Project) -> None:
    """It leads to files of the very names that a library has, and everything is allowed."""
    victim = project.parent / "victim"
    shutil.copytree(library(), victim)
    edit(next((victim / "requirements").iterdir()))
    (victim / "thesis").write_text("mine")
    before = content(victim)
    link = project / "generated/tiny-cpu/lib"
    link.unlink()
    link.symlink_to(victim)
    (project / "generated/coder-5090/lib").unlink()
    (project / "generated/coder-5090/lib").symlink_to(victim)
    (project / "stacks/coder-5090.yaml").unlink()
    assert "E0606" not in run("compile").stderr, "what is behind a link does not lie in the tree"
    assert run("compile", "--prune", "--force").exit_code == 0
    assert content(victim) == before
    assert run("compile", "--check").exit_code == 0


@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_libraries_are_not_written_through_a_link(project: Project, target: str) -> None:
    (project / "victim").mkdir()
    store = project / STORE
    store.rename(project / "away")
    store.symlink_to(project / target)
    for command in (("compile",), ("compile", "--prune", "--force"), ("compile", "stacks/tiny-cpu.yaml")):
        assert errors(*command)[0] == ("E0603", str(STORE))
    assert "E0603" in run("compile", "--check").stderr
    assert list((project / "victim").iterdir()) == []


def test_a_library_that_is_a_link_is_replaced_by_nobody(project: Project) -> None:
    elsewhere = project / "elsewhere"
    place = library()
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    before = content(elsewhere)
    assert errors("compile", "--prune", "--force") == [("E0603", str(place))]
    assert content(elsewhere) == before


@pytest.mark.parametrize("where", ["notes", "mine/notes", "0123456789ab/notes"])
def test_what_lies_among_libraries_is_told_and_pruned_when_asked(project: Project, where: str) -> None:
    path = STORE / where
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    assert run("compile", "stacks/tiny-cpu.yaml").exit_code == 0
    told = path if path.parent == STORE else path.parent
    assert errors("compile") == [("E0603", str(told))]
    assert path.read_text() == "mine"
    assert run("compile", "--prune").exit_code == 0
    assert not told.exists()
    assert run("compile", "--check").exit_code == 0


def test_a_folder_of_libraries_that_is_somebody_s_is_left_alone(project: Project) -> None:
    mine = project / "deploy/_lib/jquery.js"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert errors("compile", "--output", "deploy", "--prune") == [("E0603", "deploy/_lib/jquery.js")]
    assert run("compile", "--output", "deploy", "stacks/tiny-cpu.yaml").exit_code == 0
    assert mine.read_text() == "mine"


def test_a_tree_of_a_release_without_a_library_is_replaced(project: Project) -> None:
    """All that lay in it is listed by its own manifest."""
    for name in NAMES:
        tree = project / "generated" / name
        (tree / "lib").unlink()
        (tree / "requirements").mkdir()
        (tree / "requirements/vllm.txt").write_text("a list\n")
        lines = [line for line in (tree / "SHA256SUMS").read_text().splitlines() if "  lib/" not in line]
        lines.append(f"{hashlib.sha256(b'a list' + bytes([10])).hexdigest()}  requirements/vllm.txt")
        (tree / "SHA256SUMS").write_text("".join(f"{line}\n" for line in lines))
    shutil.rmtree(STORE)
    assert run("compile").exit_code == 0
    assert not list(project.glob("generated/*/requirements"))
    assert run("compile", "--check").exit_code == 0


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_links_is_said_and_nothing_is_written(
    project: Project, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "symlink", refuse)
    result = run("compile", "--output", "stick")
    assert (result.exit_code, "E0601" in result.stderr) == (3, True)
    assert "has no symbolic links; give an --output on one that has" in " ".join(result.stderr.split())
    assert list((project / "stick").iterdir()) == []


def test_what_a_dead_run_left_among_libraries_is_swept(project: Project) -> None:
    whole = library()
    staging = STORE / f".{whole.name}.stackc-a1b2c3d4"
    (staging / "requirements").mkdir(parents=True)
    (staging / "requirements" / next((whole / "requirements").iterdir()).name).write_text("half")
    assert run("compile", "--check").exit_code == 0
    assert f"{staging}: removed, a run that was killed had left it" in run("compile").stdout
    assert not staging.exists()


def test_a_file_saved_into_a_library_while_it_is_replaced_is_not_lost(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    next((library() / "requirements").iterdir()).unlink()
    mine = library() / "notes"
    real = os.symlink

    def save_first(*names: str, **how: bool) -> None:
        mine.write_text("mine")
        real(*names, **how)

    monkeypatch.setattr(os, "symlink", save_first)
    spec = project / "stacks/tiny-cpu.yaml"
    spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))
    assert codes(run("compile", "--format", "json")) == ["E0601"]
    assert mine.read_text() == "mine"
    assert "--port 8000" in (project / "generated/tiny-cpu/bin/launch-tiny").read_text()


@pytest.mark.parametrize("output", ["generated/_lib", "generated/tiny-cpu/lib", "generated/tiny-cpu/lib/new"])
def test_an_output_among_libraries_is_refused(project: Project, output: str) -> None:
    before = content(project)
    assert run("compile", "--output", output, "--prune").exit_code == 2
    assert content(project) == before


def test_a_change_of_the_library_is_one_line_of_all(project: Project) -> None:
    releases.become("2")
    assert run("diff").stdout == "the library of programs changes: 1 file: stack/release.txt\n"
    assert run("diff", "--format", "markdown").stdout.count("### ") == 1
    (told,) = json.loads(run("diff", "--format", "json").stdout)["differences"]
    assert (told["tree"], told["files"]) == ("_lib", {"stack/release.txt": "added"})
    assert run("compile", "--check").stdout.splitlines()[0].startswith("the library of programs changes")
    assert run("compile").exit_code == 0
    assert run("diff").exit_code == 0
    releases.become("3")
    assert run("diff").stdout == "the library of programs changes: 1 file: stack/release.txt\n"


def test_a_change_of_the_library_since_a_commit_is_one_line(project: Project) -> None:
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)
    assert run("diff", "--against", "HEAD").exit_code == 0
    releases.become("2")
    assert run("diff", "--against", "HEAD").stdout == "the library of programs changes: 1 file: stack/release.txt\n"
    assert run("compile").exit_code == 0
    assert run("diff", "--against", "HEAD").exit_code == 4
