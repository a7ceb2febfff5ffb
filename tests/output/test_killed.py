"""`kill -9`, power, the OOM killer, an impatient hand, and two runs at once."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compiler.emit import tree, turns
from tests.output.conftest import Project, codes, run


@pytest.mark.parametrize(("kind", "count"), [("moments", 10), ("pairs", 2)])
def test_a_run_that_is_killed_or_not_alone_leaves_nothing_to_mend(
    kind: str, count: int, tmp_path: Path, root: Path
) -> None:
    """In a process of its own, since it forks; by hand there are more moments and more rounds."""
    command = [sys.executable, "-m", "tests.output.kills", kind, str(tmp_path / "kills"), str(count)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)
    assert told["faults"] == []
    assert told.get("killed", told.get("rounds")) == count


@pytest.mark.parametrize("name", [".tiny-cpu.a1b2c3d4", ".tiny-cpu.stackc-a1b2c3d4"])
def test_what_a_dead_run_left_is_not_foreign_and_swept(project: Project, name: str) -> None:
    staging = project / "generated" / name
    (staging / "bin").mkdir(parents=True)
    (staging / "bin" / "launch-tiny").write_text("half")
    assert run("compile", "--check").exit_code == 0
    assert staging.exists(), "a check writes nothing"
    result = run("compile", "stacks/tiny-cpu.yaml")
    assert result.exit_code == 0, "a named spec sweeps too"
    assert f"generated/{name}: removed, a run that was killed had left it" in result.stdout
    assert not staging.exists()


def test_staging_says_first_what_will_be_in_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is known as stackc's even after its spec is gone."""
    (project / "generated" / "tiny-cpu" / "plan.json").unlink()
    written: list[str] = []
    real = tree._put

    def note(present: Path, path: Path, artifact: tree.Artifact) -> None:
        written.append(path.name)
        real(present, path, artifact)

    monkeypatch.setattr(tree, "_put", note)
    assert run("compile").exit_code == 0
    assert written[0] == "SHA256SUMS"


@pytest.mark.parametrize("name", [".tiny-cpu.archived", ".tiny-cpu.stackc-a1b2c3d4", ".other.a1b2c3d4"])
def test_a_file_that_stackc_cannot_have_written_is_not_swept(project: Project, name: str) -> None:
    mine = project / "generated" / name / "thesis"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert codes(run("compile", "--format", "json")) == ["E0603"]
    assert run("compile", "stacks/tiny-cpu.yaml").exit_code == 0
    assert mine.read_text() == "mine"


def test_the_only_copy_of_a_tree_is_put_back(project: Project) -> None:
    """Where there is no atomic exchange, a kill between two renames leaves the old tree under another name."""
    generated = project / "generated"
    (generated / "tiny-cpu").rename(generated / ".tiny-cpu.stackc-a1b2c3d4.old")
    assert run("compile", "stacks/coder-5090.yaml").exit_code == 0
    assert run("compile", "--check").exit_code == 0


def test_staging_of_a_run_that_lives_is_not_swept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.1)
    staging = project / "generated" / ".tiny-cpu.stackc-a1b2c3d4"
    staging.mkdir()
    held = os.open(project / "generated", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        result = run("compile", "--format", "json")
    finally:
        os.close(held)
    assert (result.exit_code, codes(result)) == (3, ["E0601"])
    assert staging.exists()
    assert run("compile").exit_code == 0


def test_waiting_is_told_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TOLD_AFTER", 0.0)
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        os.close(held)  # the other run ends

    with turns.turn(tmp_path, is_writing=True, tell=tell) as is_alone:
        assert is_alone
        assert told == [f"waiting for another stackc that writes below {tmp_path}"]


def test_a_file_saved_into_a_tree_while_it_is_replaced_is_not_lost(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the exchange: an editor that saves, or a copy that is under way."""
    spec, real = project / "stacks" / "tiny-cpu.yaml", tree._exchange
    spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))
    mine = project / "generated" / "tiny-cpu" / "notes.txt"

    def save_first(first: Path, second: Path) -> None:
        if not mine.exists():
            mine.write_text("mine")
        real(first, second)

    monkeypatch.setattr(tree, "_exchange", save_first)
    result = run("compile", "--format", "json")
    assert (result.exit_code, codes(result)) == (3, ["E0601"])
    assert mine.read_text() == "mine"
    assert "--port 8000" in (project / "generated/tiny-cpu/bin/launch-tiny").read_text()


def test_one_sync_serves_all_files(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An fsync for each of five hundred files took longer than compiling them."""
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    for name in ("tiny-cpu", "coder-5090"):
        spec = project / "stacks" / f"{name}.yaml"
        spec.write_text(spec.read_text().replace("port: 8000", "port: 8100"))
    started = time.monotonic()
    assert run("compile").exit_code == 0
    assert time.monotonic() - started < 60
    assert 1 <= len(syncs) <= 3
