"""What a user sees of `stackc compile` when the disk, the folder or an impatient hand get in the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compiler.cli.main import cli
from compiler.emit import tree as tree_module
from tests.conftest import ROOT

NAMES = ("tiny-cpu", "coder-5090")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `project` is a copy of."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "stacks").mkdir()
    for name in NAMES:
        for suffix in (".yaml", ".lock.yaml"):
            shutil.copy(ROOT / "stacks" / f"{name}{suffix}", folder / "stacks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("compile").exit_code == 0
    return folder


@pytest.fixture
def project(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two stacks, compiled."""
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def codes(result: Result) -> list[str]:
    return [d["code"] for d in json.loads(result.stdout)["diagnostics"] if d["severity"] == "error"]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_check_passes_and_compiling_again_changes_nothing(project: Path) -> None:
    assert run("compile", "--check").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (project / "generated").rglob("*")}
    result = run("compile")
    assert "unchanged" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in (project / "generated").rglob("*")} == before


@pytest.mark.parametrize("flags", [("--locked",), ()])
@pytest.mark.parametrize(
    ("change", "code"), [("missing", "E0301"), ("stale", "E0302"), ("extra", "E0302"), ("broken", "E0303")]
)
def test_a_lock_that_does_not_answer_stops_compiling(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: str, code: str, flags: tuple[str, ...]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("compiling went online")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    spec, lock = project / "stacks" / "tiny-cpu.yaml", project / "stacks" / "tiny-cpu.lock.yaml"
    text = lock.read_text()
    if change == "missing":
        lock.unlink()
    elif change == "stale":
        spec.write_text(spec.read_text().replace("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-360M"))
    else:
        lock.write_text(text.replace("services:\n  tiny:", "services:\n  old:") if change == "extra" else "{")
    before = snapshot(project)
    result = run("compile", *flags)
    assert result.exit_code == 1
    assert f"error[{code}]" in result.stderr
    assert "stackc lock" in result.stderr
    assert snapshot(project) == before


def test_compile_locked_is_for_ci(project: Path) -> None:
    assert run("compile", "--locked", "--check").exit_code == 0


@pytest.mark.parametrize("change", ["delete", "mode", "link"])
def test_check_finds_a_change_and_compile_repairs_it(project: Path, change: str) -> None:
    victim = project / "generated" / "tiny-cpu" / "bin" / "launch-tiny"
    if change == "mode":
        victim.chmod(0o644)
    else:
        victim.unlink()
    if change == "link":
        victim.symlink_to("/bin/true")
    result = run("compile", "--check", "-v")
    assert result.exit_code == 1
    assert "E0602" in result.stderr
    assert "launch-tiny" in result.stderr
    assert "`stackc compile` repairs it" in result.stderr
    assert run("compile").exit_code == 0
    assert run("compile", "--check").exit_code == 0


@pytest.mark.parametrize("stray", ["tiny-cpu/notes.txt", "notes.txt", "other/file", "tiny-cpu/bin/empty/x"])
def test_a_stray_file_fails_the_check_and_is_removed_only_when_asked(project: Path, stray: str) -> None:
    path = project / "generated" / stray
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine\n")
    assert set(codes(run("compile", "--check", "--format", "json"))) <= {"E0602", "E0603"}
    refused = run("compile", "--format", "json")
    assert refused.exit_code == 1
    assert set(codes(refused)) == {"E0603"}
    assert path.read_text() == "mine\n"
    assert run("compile", "--prune").exit_code == 0
    assert not path.exists()
    assert run("compile", "--check").exit_code == 0


def test_the_folder_of_a_spec_that_is_gone_is_removed(project: Path) -> None:
    (project / "stacks" / "coder-5090.yaml").unlink()
    assert codes(run("compile", "--check", "--format", "json")) == ["E0602"]
    assert run("compile").exit_code == 0
    assert sorted(path.name for path in (project / "generated").iterdir()) == ["_lib", "tiny-cpu"]


def test_one_spec_alone_leaves_the_others_folders(project: Path) -> None:
    assert run("compile", "stacks/tiny-cpu.yaml").exit_code == 0
    assert (project / "generated" / "coder-5090").is_dir()


def test_an_error_in_one_spec_writes_none(project: Path) -> None:
    before = snapshot(project / "generated")
    for name in NAMES:
        spec = project / "stacks" / f"{name}.yaml"
        spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))
    broken = project / "stacks" / "coder-5090.yaml"
    broken.write_text(broken.read_text().replace("context: 4K", "context: 4k"))
    result = run("compile", "--format", "json")
    assert result.exit_code == 1
    assert codes(result) == ["E0204"]
    assert snapshot(project / "generated") == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_full_disk_leaves_the_old_tree(project: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    spec = project / "stacks" / "tiny-cpu.yaml"
    spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))
    before = snapshot(project / "generated")
    written: list[Path] = []

    def fail_on_the_third(path: Path, *_: object) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(tree_module, "_write_file", fail_on_the_third)
    result = run("compile", "--format", "json")
    assert result.exit_code == 3
    assert codes(result) == ["E0601"]
    assert snapshot(project / "generated") == before
    assert not [path for path in (project / "generated").iterdir() if path.name.startswith(".")]


def test_an_interrupt_in_the_middle_leaves_the_old_tree(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = project / "stacks" / "tiny-cpu.yaml"
    spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))
    before = snapshot(project / "generated")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tree_module, "_swap", interrupt)
    result = run("compile")
    assert result.exit_code != 0
    assert snapshot(project / "generated") == before


def test_without_an_atomic_exchange_the_tree_is_replaced_or_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on systems other than Linux, and on file systems that do not offer it."""
    monkeypatch.setattr(tree_module.ctypes, "CDLL", lambda *_, **__: object())
    spec = project / "stacks" / "tiny-cpu.yaml"
    spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))
    before = snapshot(project / "generated")
    real = Path.rename

    def fail_to_put_the_new_tree(path: Path, target: Path) -> Path:
        if Path(target).name == "tiny-cpu" and not path.name.endswith(".old"):
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fail_to_put_the_new_tree)
    assert run("compile").exit_code != 0
    assert snapshot(project / "generated") == before
    monkeypatch.setattr(Path, "rename", real)
    assert run("compile").exit_code == 0
    assert run("compile", "--check").exit_code == 0
    assert sorted(path.name for path in (project / "generated").iterdir()) == ["_lib", *sorted(NAMES)]


def test_an_output_that_is_a_file_is_a_usage_error(project: Path) -> None:
    (project / "taken").write_text("")
    assert run("compile", "--output", "taken").exit_code == 2


def test_an_output_below_a_file_is_reported(project: Path) -> None:
    (project / "taken").write_text("")
    result = run("compile", "--output", "taken/below", "--format", "json")
    assert result.exit_code == 3
    assert codes(result) == ["E0601"]


def test_a_spec_that_cannot_be_read_is_the_users_to_mend(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("compiler.checks.read.read_source", refuse)
    result = run("compile", "stacks/tiny-cpu.yaml", "--format", "json")
    assert result.exit_code == 1
    assert codes(result) == ["E0104"]


def test_usage_errors(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("compile", "stacks/none.yaml").exit_code == 2
    assert run("compile", "--nonsense").exit_code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert run("compile").exit_code == 2


def test_a_shell_s_glob_that_matches_the_locks_compiles_the_specs(project: Path) -> None:
    files = [str(path.relative_to(project)) for path in sorted((project / "stacks").iterdir())]
    assert any(name.endswith(".lock.yaml") for name in files)
    assert run("compile", *files).exit_code == 0
