"""Each stack runs as a user of its own; an installation from before that is taken over, and can be returned to."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.emit.manifest import NAME
from compiler.targets.deployment import user_of
from tests.conftest import missing
from tests.unit.installed_machine import InstalledMachine, with_context
from tests.unit.plan_samples import two_on_one_gpu

PLAN = two_on_one_gpu()
STATE = "/var/lib/stackc/duo"
SHARED, OWN, OTHERS = 4711, 4712, 4713


@pytest.fixture
def machine(tmp_path: Path) -> InstalledMachine:
    """A machine with the user as which all stacks once ran, and that of this one."""
    if os.geteuid() != 0:
        missing("only root gives files away")
    machine = InstalledMachine.prepare(tmp_path, PLAN)
    users = {"stackc": SHARED, "stackc-duo": OWN}
    lines = [f"{name}:x:{uid}:{uid}:stackc stack duo:/:/bin/false\n" for name, uid in users.items()]
    (machine.root / "passwd").write_text("".join(lines))
    return machine


def earlier_tree(machine: InstalledMachine) -> Path:
    """A tree as it was compiled when all stacks had one user."""
    plan = with_context(PLAN, "general", 4096)
    tree = machine.copy(plan)
    text = (tree / "plan.json").read_text()
    texts = {"plan.json": re.sub(r'\n  "user": "stackc-duo",', "", text)}
    for unit in sorted((tree / "systemd").glob("*.service")):
        texts[f"systemd/{unit.name}"] = unit.read_text().replace("User=stackc-duo\n", "User=stackc\n")
    assert '"user"' not in texts["plan.json"]
    return machine.copy(plan, **texts)


def own(path: Path, user: int) -> Path:
    os.chown(path, user, user, follow_symlinks=False)
    return path


def owners(machine: InstalledMachine) -> dict[str, int]:
    place = machine.at(STATE)
    return {str(path.relative_to(place)): path.lstat().st_uid for path in (place, *sorted(place.rglob("*")))}


def fill(machine: InstalledMachine, tmp_path: Path) -> Path:
    """Files of the shared user, of somebody else, and names that lead out of the folder."""
    place, outside = machine.at(STATE), tmp_path / "outside"
    outside.mkdir()
    for name in ("secret", "linked"):
        own((outside / name), SHARED) if (outside / name).write_text("x") else None
    (place / "hf/hub").mkdir(parents=True)
    for name in ("hf", "hf/hub"):
        own(place / name, SHARED)
    (place / "hf/model").write_text("weights")
    own(place / "hf/model", SHARED)
    (place / "thesis").write_text("x")
    own(place / "thesis", OTHERS)
    own(place / "hf/hub/out", SHARED) if not (place / "hf/hub/out").symlink_to(outside) else None
    os.link(outside / "linked", place / "hf/linked")
    return outside


def test_an_upgrade_takes_over_and_a_rollback_gives_back(machine: InstalledMachine, tmp_path: Path) -> None:
    old = earlier_tree(machine)
    assert machine.run(old, "install").returncode == 0
    machine.at(STATE).mkdir(exist_ok=True, parents=True)
    own(machine.at(STATE), SHARED)
    outside = fill(machine, tmp_path)
    newer = machine.copy(PLAN)
    users = machine.root / "passwd"
    users.write_text(users.read_text().replace("stackc-duo:", "other:"))
    dry = machine.run(newer, "upgrade", "--dry-run")
    assert "  useradd" in dry.stdout
    assert f"give stackc-duo what stackc owns in {STATE}" in dry.stdout
    users.write_text(users.read_text().replace("other:", "stackc-duo:"))
    done = machine.run(newer, "upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"give stackc-duo what stackc owns in {STATE}" in done.stdout
    found = owners(machine)
    moved = {".", "hf", "hf/hub", "hf/model", "hf/hub/out"}
    assert {name: found[name] for name in (*moved, "thesis", "hf/linked")} == dict.fromkeys(moved, OWN) | {
        "thesis": OTHERS,
        "hf/linked": SHARED,
    }
    assert "1 files" in done.stderr, "the file that has another name elsewhere is told"
    assert {path.lstat().st_uid for path in outside.iterdir()} == {SHARED}
    back = machine.run(newer, "rollback")
    assert back.returncode == 0, back.stdout + back.stderr
    assert {owners(machine)[name] for name in moved} == {SHARED}


def test_the_download_before_the_switch_runs_as_who_owns_the_cache(machine: InstalledMachine) -> None:
    assert machine.run(earlier_tree(machine), "install").returncode == 0
    own(machine.at(STATE), SHARED)
    told = machine.root / "told"
    systemctl = machine.tool("systemctl")
    script = systemctl.read_text()
    unit = machine.at("/run/systemd/system/duo.stage.service")
    spy = f"import shutil\nif os.path.exists({str(unit)!r}): shutil.copy({str(unit)!r}, {str(told)!r})\n"
    systemctl.write_text(script.replace("import json, os, sys\n", "import json, os, sys\n" + spy, 1))
    assert machine.run(machine.copy(PLAN), "upgrade").returncode == 0
    assert "\nUser=stackc\n" in told.read_text()


def test_installing_over_what_an_uninstalled_stack_has_left_takes_it_over(machine: InstalledMachine) -> None:
    place = machine.at(f"{STATE}/hf")
    place.mkdir(parents=True)
    own(place, SHARED)
    own(place.parent, SHARED)
    assert machine.run(machine.copy(PLAN), "install").returncode == 0
    assert {place.lstat().st_uid, place.parent.lstat().st_uid} == {OWN}


def test_a_purge_keeps_the_user_that_other_stacks_may_run_as(machine: InstalledMachine) -> None:
    tree = machine.copy(PLAN)
    assert machine.run(tree, "install").returncode == 0
    assert machine.run(tree, "uninstall", "--purge").returncode == 0
    assert [line.partition(":")[0] for line in (machine.root / "passwd").read_text().splitlines()] == ["stackc"]


def test_units_and_installers_agree_on_the_user(tmp_path: Path) -> None:
    long = "a-stack-with-a-long-name-of-many-letters"
    for stack in ("duo", "a" * 23, "a" * 24, long):
        plan = replace(PLAN, stack=stack)
        machine = InstalledMachine(tmp_path / stack, tmp_path / stack)
        tree = machine.copy(plan)
        user = user_of(stack)
        assert f'"user": "{user}"' in (tree / "plan.json").read_text()
        units = [unit.read_text() for unit in (tree / "systemd").glob("*.service")]
        assert len(units) >= 3
        assert all(f"\nUser={user}\n" in text for text in units)
        assert user in (tree / "README.md").read_text()
        assert (tree / NAME).exists()
