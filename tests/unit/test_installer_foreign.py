"""What installers find on a machine that is not theirs: it stays, it is told, and nothing is put in its place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Plan
from tests.conftest import missing
from tests.unit.installed_machine import UNITS, InstalledMachine, with_context
from tests.unit.plan_samples import one_on_cpu, two_on_one_gpu, with_engine

PLAN = two_on_one_gpu()
NEWER = with_context(PLAN, "general", 8192)
INSTALL, STATE, USER = "/opt/stackc/duo", "/var/lib/stackc/duo", "stackc-duo"
CODER = "duo-coder.service"


@pytest.fixture
def machine(tmp_path: Path) -> InstalledMachine:
    return InstalledMachine.prepare(tmp_path, PLAN)


@pytest.fixture
def installed(machine: InstalledMachine) -> InstalledMachine:
    """A machine on which PLAN is installed and has downloaded and measured something."""
    done = machine.run(machine.copy(PLAN), "install")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("hf/hub/models--a--b/blobs/0", "cache/vllm/x", "rollout/general", "baselines/a.json", "locks/gpu-0"):
        write(machine.at(f"{STATE}/{name}"))
    write(machine.at("/run/stackc-duo/gateway/conf"))
    return machine


def write(path: Path, text: str = "precious") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def purge(machine: InstalledMachine, *options: str, plan: Plan = PLAN) -> subprocess.CompletedProcess[str]:
    done = machine.run(machine.copy(plan), "uninstall", "--purge", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_purge_leaves_nothing_of_the_stack(installed: InstalledMachine) -> None:
    done = purge(installed)
    assert "left:" not in done.stdout
    left = [str(path) for path in installed.root.rglob("*") if "duo" in path.name]
    assert left == [str(installed.at("/run/stackc-duo.install.lock"))], "the lock is held while it works"
    assert (installed.root / "passwd").read_text() == ""


FOREIGN = (
    f"{INSTALL}/notes.txt",
    f"{INSTALL}/versions/notes.txt",
    f"{INSTALL}/versions/backup/file",
    f"{INSTALL}/versions/0123456789ab/file",
    f"{INSTALL}/versions/.0123456789ab/SHA256SUMS",
    f"{INSTALL}/current/notes.txt",
    f"{INSTALL}/current/bin/_mine.py",
    f"{STATE}/thesis",
    f"{STATE}/lost+found/x",
    f"{STATE}/models/finetuned/model.safetensors",
)


@pytest.mark.parametrize("place", FOREIGN)
def test_what_somebody_else_put_there_stays_and_is_told(installed: InstalledMachine, place: str) -> None:
    path = write(installed.at(place)).resolve()
    done = purge(installed)
    assert path.read_text() == "precious"
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("  left: /")]
    told = line.removeprefix("  left: ").partition(":")[0]
    assert path.is_relative_to(installed.at(told)), "the line names it or a folder around it"
    ours = ("hf", "cache", "SHA256SUMS", "preflight", ".stackc.json", "gateway", "duo.target")
    kept = [each for each in installed.root.rglob("*") if each.name in ours and each != path]
    assert kept == [], "all that is the stack's is gone nevertheless"


LINKS = (
    f"{INSTALL}/versions",
    f"{INSTALL}/versions/0123456789ab",
    f"{INSTALL}/previous",
    f"{INSTALL}/current/bin",
    f"{INSTALL}/current/lib",
    f"{STATE}",
    f"{STATE}/hf",
    f"{STATE}/.cache",
    "/run/stackc-duo",
)


@pytest.mark.parametrize("place", LINKS)
def test_no_removal_follows_a_link(installed: InstalledMachine, place: str, tmp_path: Path) -> None:
    """Behind the link lies what would be removed if it lay there itself."""
    place = place.replace("current", f"versions/{installed.copy(PLAN).name}")
    path, elsewhere = installed.at(place), tmp_path / "elsewhere"
    if path.is_dir():
        shutil.copytree(path, elsewhere, symlinks=True)
        shutil.rmtree(path)
    write(elsewhere / "thesis")
    write(elsewhere / "hub" / "model")
    before = sorted(elsewhere.rglob("*"))
    path.symlink_to(elsewhere)
    done = purge(installed)
    assert sorted(elsewhere.rglob("*")) == before
    assert path.is_symlink()
    assert f"left: {place}:" in done.stdout


@pytest.mark.parametrize("name", ["lib", "bin"])
def test_an_installed_version_is_not_mended_through_a_link(
    installed: InstalledMachine, name: str, tmp_path: Path
) -> None:
    tree = installed.copy(PLAN)
    place, elsewhere = installed.at(f"{INSTALL}/versions/{tree.name}/{name}"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(place)
    place.symlink_to(elsewhere)
    done = installed.run(tree, "install")
    assert done.returncode != 0
    assert f"{place} is a link" in done.stderr
    assert list(elsewhere.iterdir()) == []


def test_a_mounted_disk_is_not_entered(installed: InstalledMachine, tmp_path: Path) -> None:
    disk, place = write(tmp_path / "disk" / "model"), installed.at(f"{STATE}/hf/disk")
    place.mkdir()
    tree = installed.copy(PLAN)
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    command = [tree / "bin/uninstall", "--purge", "--root", installed.root]
    environment = {"PATH": f"{installed.tool('')}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", disk.parent, place, *command],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr or "permission denied" in done.stderr:
        missing("a mount in a namespace needs root")
    assert done.returncode == 0, done.stdout + done.stderr
    assert disk.read_text() == "precious"
    assert f"left: {STATE}/hf: {place} is mounted" in done.stdout
    assert not installed.at(f"{STATE}/cache").exists()


def test_a_purge_without_an_installation_removes_nothing(machine: InstalledMachine) -> None:
    """One big disk, with somebody's own Hugging Face cache on it."""
    plan = replace(PLAN, paths=replace(PLAN.paths, state="/data/llm"))
    for name in ("thesis", "hf/hub/models--a--b/x", "cache/x"):
        write(machine.at(f"/data/llm/{name}"))
    os.chown(machine.at("/data/llm/hf"), os.getuid(), os.getgid())
    before = machine.snapshot()
    purge(machine, plan=plan)
    assert machine.snapshot() == before


@pytest.mark.parametrize("text", ['{"stack": "solo"}', "[]", "{", ""])
def test_the_folder_of_another_stack_is_neither_taken_nor_purged(machine: InstalledMachine, text: str) -> None:
    write(machine.at(f"{STATE}/.stackc.json"), text)
    write(machine.at(f"{STATE}/hf/model"))
    before = machine.snapshot()
    done = machine.run(machine.copy(PLAN), "install")
    assert (done.returncode, machine.snapshot()) == (27, before)
    assert "a folder of its own" in done.stderr
    assert f"left: {STATE}: it belongs to stack" in purge(machine).stdout
    assert machine.snapshot() == before


def test_a_shared_folder_is_not_taken_for_the_state(machine: InstalledMachine) -> None:
    plan = replace(PLAN, paths=replace(PLAN.paths, state="/data/llm"))
    write(machine.at("/data/llm/thesis"))
    before = machine.snapshot()
    done = machine.run(machine.copy(plan), "install")
    assert (done.returncode, machine.snapshot()) == (27, before)
    assert "thesis" in done.stderr
    machine.at("/data/llm/thesis").unlink()
    (machine.at("/data/llm") / "lost+found").mkdir()
    assert machine.run(machine.copy(plan), "install").returncode == 0, "an empty disk is as good as none"


def test_the_installation_of_another_stack_is_not_replaced(installed: InstalledMachine) -> None:
    other = one_on_cpu()
    shared = with_engine(replace(other, paths=replace(other.paths, install=INSTALL)), program=PLAN.engine.program)
    before = installed.snapshot()
    for name in ("install", "upgrade"):
        done = installed.run(installed.copy(shared), name)
        assert done.returncode in (2, 27), done.stderr
    assert installed.snapshot() == before
    assert f"left: {INSTALL}: it belongs to stack duo" in purge(installed, plan=shared).stdout
    assert installed.snapshot() == before


@pytest.mark.parametrize("entry", [CODER, f"{CODER}.d", "duo.target", "duo.target.wants", "duo.stage.service"])
@pytest.mark.parametrize(
    "folder",
    ["/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system", "/run/systemd/generator"],
)
def test_units_of_the_system_are_not_shadowed(machine: InstalledMachine, folder: str, entry: str) -> None:
    write(machine.at(f"{folder}/{entry}/x.conf" if entry.endswith((".d", ".wants")) else f"{folder}/{entry}"))
    before = machine.snapshot()
    done = machine.run(machine.copy(PLAN), "install")
    assert (done.returncode, machine.snapshot()) == (26, before)
    assert f"{folder}/{entry}" in done.stderr


def test_an_upgrade_does_not_shadow_either(installed: InstalledMachine) -> None:
    write(installed.at(f"/usr/lib/systemd/system/{CODER}"))
    assert installed.run(installed.copy(NEWER), "upgrade").returncode == 26


def test_a_unit_of_another_stack_is_not_replaced(machine: InstalledMachine) -> None:
    text = "# Stack `solo`, written by `stackc compile`. DO NOT EDIT: change the spec and compile again.\n"
    foreign = write(machine.root / UNITS / CODER, text)
    assert machine.run(machine.copy(PLAN), "install").returncode == 26
    assert foreign.read_text() == text


def test_what_an_administrator_adds_to_a_unit_is_told_and_stays(machine: InstalledMachine) -> None:
    addition = write(machine.root / UNITS / f"{CODER}.d" / "fast.conf", "[Service]\nRestartSec=1\n")
    done = machine.run(machine.copy(PLAN), "install", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["warnings"] == [f"/{UNITS}/{CODER}.d changes this unit"]
    purge(machine)
    assert addition.exists()


def test_a_link_of_somebody_else_that_enables_is_left(installed: InstalledMachine) -> None:
    wants = installed.root / UNITS / "multi-user.target.wants" / "duo.target"
    wants.unlink()
    wants.symlink_to("/usr/lib/systemd/system/duo.target")
    purge(installed)
    assert wants.is_symlink()


def test_a_file_in_the_place_of_a_link_is_not_replaced(installed: InstalledMachine) -> None:
    current = installed.at(f"{INSTALL}/current")
    current.unlink()
    current.write_text("precious")
    assert installed.run(installed.copy(PLAN), "install").returncode == 27
    assert current.read_text() == "precious"
    assert f"left: {INSTALL}/current" in purge(installed).stdout


def test_a_user_of_that_name_who_was_there_before_stays(machine: InstalledMachine) -> None:
    line = f"{USER}:x:{os.getuid()}:{os.getgid()}:somebody:/:/bin/sh\n"
    (machine.root / "passwd").write_text(line)
    assert machine.run(machine.copy(PLAN), "install").returncode == 0
    assert f"left: user {USER}: not made for this stack" in purge(machine).stdout
    assert (machine.root / "passwd").read_text() == line


def test_the_user_stays_while_files_of_it_may(installed: InstalledMachine) -> None:
    write(installed.at(f"{STATE}/thesis"))
    assert f"left: user {USER}" in purge(installed).stdout
    assert USER in (installed.root / "passwd").read_text()
