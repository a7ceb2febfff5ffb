"""Files of somebody else's in the output: never removed, never renamed, never waited for, always told."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.emit import owned
from compiler.emit.library import is_store
from compiler.emit.owned import is_own
from tests.conftest import ROOT
from tests.output.conftest import Project, codes, run


def with_manifest(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in files.items()]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


def plan(stack: str) -> str:
    return json.dumps({"schema": 1, "stack": stack, "engine": {"vllm": "0.33.0"}, "services": []})


STRANGERS = {
    "isos": {"debian.iso": "data"},
    "release": {"plan.json": '{"quarter": 3}', "README.md": "ours"},
    "renamed": {"plan.json": plan("chat"), "README.md": "a copy that somebody keeps"},
    "list": {"plan.json": "[]"},
    "nested": {"a/plan.json": plan("nested")},  # without the node's own manifest
}


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("flags", [(), ("--prune",)])
def test_a_folder_with_checksums_is_not_stackc_s(project: Project, name: str, flags: tuple[str, ...]) -> None:
    deploy = project.parent / "deploy"
    folder = with_manifest(deploy / name, STRANGERS[name])
    result = run("compile", "--output", "../deploy", "--format", "json", *flags)
    assert (result.exit_code, codes(result)) == (1, ["E0603"])
    assert "--prune" not in result.stdout, "only in an output of its own does stackc offer that"
    assert not (deploy / "tiny-cpu").exists()
    assert all((folder / path).read_text() == text for path, text in STRANGERS[name].items())
    assert codes(run("compile", "--output", "../deploy", "--check", "--format", "json")).count("E0603") == 1


def test_a_stranger_in_the_place_of_a_tree(project: Project) -> None:
    folder = project / "generated" / "tiny-cpu"
    shutil.rmtree(folder)
    with_manifest(folder, {"README.md": "mine", "plan.json": "{}", "bin/launch-tiny": "mine"})
    for spec in ((), ("stacks/tiny-cpu.yaml",)):
        result = run("compile", *spec, "--format", "json")
        assert (result.exit_code, codes(result)) == (1, ["E0603"])
    assert (folder / "README.md").read_text() == "mine"


def make_file(path: Path) -> None:
    path.write_text("mine")


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path.name)
    os.chdir(before)


ODD = {
    "file": make_file,
    "pipe": os.mkfifo,
    "socket": make_socket,
    "link": lambda path: path.symlink_to("../stacks"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("flags", [(), ("--prune",), ("stacks/tiny-cpu.yaml",), ("--check",)])
def test_what_is_no_folder_in_the_place_of_a_tree(project: Project, what: str, flags: tuple[str, ...]) -> None:
    place = project / "generated" / "tiny-cpu"
    shutil.rmtree(place)
    ODD[what](place)
    before = place.lstat()
    result = run("compile", *flags, "--format", "json")
    assert (result.exit_code, codes(result)) == (1, ["E0603"])
    assert place.lstat().st_ino == before.st_ino
    assert [path.name for path in (project / "generated").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("where", ["tiny-cpu/bin", "tiny-cpu", "."])
def test_what_is_no_file_among_them_is_told_and_pruned_when_asked(project: Project, what: str, where: str) -> None:
    path = project / "generated" / where / "mine"
    ODD[what](path)
    assert codes(run("compile", "--format", "json")) == ["E0603"]
    assert os.path.lexists(path)
    result = run("compile", "--prune")
    assert result.exit_code == 0
    assert "mine: removed, stackc did not write it" in result.stdout
    assert not os.path.lexists(path)
    assert (project / "stacks" / "tiny-cpu.yaml").exists(), "a link costs the link alone"


def test_a_folder_of_a_tree_that_became_a_link_costs_nothing_behind_it(project: Project) -> None:
    """The manifest names bin/launch-tiny: it must not be removed from where a link leads to."""
    binaries = project / "generated" / "tiny-cpu" / "bin"
    elsewhere = project.parent / "programs"
    binaries.rename(elsewhere)
    binaries.symlink_to(elsewhere)
    kept = sorted(path.name for path in elsewhere.iterdir())
    assert codes(run("compile", "--format", "json")) == ["E0603"]
    assert run("compile", "--prune").exit_code == 0
    assert sorted(path.name for path in elsewhere.iterdir()) == kept
    assert not binaries.is_symlink()


def test_prune_stays_out_of_an_output_that_others_use(project: Project) -> None:
    deploy = project.parent / "deploy"
    make = deploy / "releases" / "1.0" / "app"
    make.parent.mkdir(parents=True)
    make.write_text("theirs")
    assert run("compile", "--output", "../deploy", "stacks/tiny-cpu.yaml").exit_code == 0
    (deploy / "tiny-cpu" / "notes").write_text("inside a tree")
    refused = run("compile", "--output", "../deploy", "--prune", "--format", "json")
    assert (refused.exit_code, codes(refused)) == (1, ["E0603"])
    assert run("compile", "--output", "../deploy", "--prune", "stacks/tiny-cpu.yaml").exit_code == 0
    assert not (deploy / "tiny-cpu" / "notes").exists()
    assert make.read_text() == "theirs"


def test_prune_removes_no_repository(project: Project) -> None:
    head = project / "generated" / "site" / "sub" / ".git" / "HEAD"
    head.parent.mkdir(parents=True)
    head.write_text("ref")
    result = run("compile", "--prune", "--format", "json")
    assert (result.exit_code, codes(result)) == (1, ["E0603"])
    assert head.exists()


def test_a_tree_that_is_gone_is_removed_with_nothing_of_others(project: Project) -> None:
    (project / "stacks" / "coder-5090.yaml").unlink()
    mine = project / "generated" / "coder-5090" / "bin" / "mine"
    mine.write_text("mine")
    assert codes(run("compile", "--format", "json")) == ["E0603"]
    assert mine.exists()
    mine.unlink()
    result = run("compile")
    assert result.exit_code == 0
    assert "generated/coder-5090: removed, no spec asks for it" in result.stdout
    assert not (project / "generated" / "coder-5090").exists()


@pytest.mark.parametrize("name", ["plan.json", "SHA256SUMS"])
@pytest.mark.parametrize("damage", ["<<<<<<< HEAD\n", ""])
def test_a_tree_whose_merge_failed_is_written_anew(project: Project, name: str, damage: str) -> None:
    victim = project / "generated" / "tiny-cpu" / name
    victim.write_text(damage + victim.read_text())
    if not damage and name == "plan.json":
        victim.unlink()
    assert run("compile").exit_code == 0
    assert run("compile", "--check").exit_code == 0


def test_trees_that_are_committed_are_known_as_stackc_s() -> None:
    """Also those of releases before; a folder for each node is one tree."""
    folders = tuple((ROOT / "generated").iterdir())
    assert all(is_own(folder) or is_store(folder) for folder in folders)


def test_a_tree_of_several_nodes_is_known_as_stackc_s(tmp_path: Path) -> None:
    node = with_manifest(tmp_path / "pair" / "gpu01", {"plan.json": plan("pair"), "README.md": "x"})
    listed = {f"gpu01/{path.name}": path.read_text() for path in node.iterdir()}
    assert is_own(with_manifest(tmp_path / "pair", {"README.md": "nodes", **listed}))


KEYS = st.sampled_from(["schema", "stack", "engine", "services"])
VALUES = st.none() | st.integers() | st.just([]) | st.text(max_size=5)


@given(changes=st.dictionaries(KEYS, VALUES, min_size=1))
@settings(max_examples=50)
def test_no_other_plan_json_makes_a_tree(changes: dict[str, object]) -> None:
    data = {**json.loads(plan("chat")), **changes}
    still = isinstance(data["schema"], int) and data["stack"] == "chat" and data["services"] == []
    with tempfile.TemporaryDirectory() as parent:
        folder = with_manifest(Path(parent) / "chat", {"plan.json": json.dumps(data)})
        assert is_own(folder) == (still and isinstance(data["engine"], dict))


def test_a_plan_that_the_manifest_does_not_list_makes_no_tree(tmp_path: Path) -> None:
    folder = with_manifest(tmp_path / "chat", {"plan.json": plan("chat")})
    assert is_own(folder)
    (folder / "plan.json").write_text(plan("chat") + "\n")
    assert not is_own(folder)


def test_a_manifest_that_never_ends_is_no_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    folder.mkdir()
    (folder / "SHA256SUMS").symlink_to("/dev/zero")
    assert owned.stranger(folder) == "it has no SHA256SUMS"


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o027])
def test_modes_do_not_depend_on_the_umask(project: Project, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert run("compile", "--output", "new/er/trees").exit_code == 0
    finally:
        os.umask(before)
    found = [project / "new", *(project / "new").rglob("*")]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in found}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o755}
    assert modes == {0o755, 0o644}


@pytest.mark.parametrize(("mode", "told"), [(0o700, "keeps others out"), (0o777, "lets anybody write"), (0o775, "")])
@pytest.mark.parametrize("where", [".", "bin"])
def test_check_tells_a_wrong_mode_of_a_folder_and_compile_mends_it(
    project: Project, mode: int, told: str, where: str
) -> None:
    folder = project / "generated" / "tiny-cpu" / where
    folder.chmod(mode)
    result = run("compile", "--check", "-v")
    assert (result.exit_code, told in result.stderr) == (1 if told else 0, True)
    assert run("compile").exit_code == 0
    assert run("compile", "--check").exit_code == 0


def test_nothing_is_left_to_commit(project: Project) -> None:
    """No lock file and no mark beside the trees."""
    (project / "generated" / "notes").write_text("mine")
    assert run("compile", "--prune").exit_code == 0
    assert sorted(path.name for path in (project / "generated").iterdir()) == ["_lib", "coder-5090", "tiny-cpu"]
