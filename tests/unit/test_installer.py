"""install, upgrade, rollback, uninstall: whatever happens on the way, a version that is whole is in place."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.emit.manifest import NAME
from compiler.plan.ir import Gateway, Patches, Plan, Route
from tests.unit.installed_machine import UNITS, InstalledMachine, with_context
from tests.unit.plan_samples import one_on_cpu, two_on_one_gpu, write_executable

CODER, GENERAL = "duo-coder.service", "duo-general.service"
PLAN = two_on_one_gpu()
NEWER = with_context(PLAN, "general", 8192)


@pytest.fixture
def machine(tmp_path: Path) -> InstalledMachine:
    return InstalledMachine.prepare(tmp_path, PLAN)


@pytest.fixture
def running(machine: InstalledMachine) -> InstalledMachine:
    """A machine on which PLAN runs."""
    done = machine.run(machine.copy(PLAN), "install", "--start")
    assert done.returncode == 0, done.stdout + done.stderr
    machine.forget_calls()
    return machine


def broken(plan: Plan) -> Plan:
    """The plan with a unit that systemd cannot start."""
    return replace(with_context(plan, "coder", 4096), patches=Patches(systemd={"coder": {"Unit": {"After": "broken"}}}))


def with_gateway(plan: Plan, port: int) -> Plan:
    routes = tuple(Route(service.name, service.name, None, 600) for service in plan.services)
    return replace(plan, gateway=Gateway("nginx", "127.0.0.1", port, "nginx:1", 1 << 20, None, 20, 64, routes))


def assert_whole(machine: InstalledMachine) -> None:
    """What `current` names is a complete version, and every unit that systemd finds belongs to it."""
    current = machine.at("/opt/stackc/duo/current")
    folder = current.parent / current.readlink()
    for line in (folder / NAME).read_text().splitlines():
        assert (folder / line.partition("  ")[2]).is_file()
    for link in (machine.root / UNITS).glob("duo*"):
        assert str(link.readlink()) == f"/opt/stackc/duo/current/systemd/{link.name}"


def assert_runs(machine: InstalledMachine, version: str, units: list[str]) -> None:
    """The units run with the text of that version, and nothing else does."""
    assert machine.link("current") == version
    assert machine.link("unfinished") is None
    assert machine.running == sorted(units)
    for unit in units:
        text = machine.systemd["running"][unit]
        assert text == (machine.at("/opt/stackc/duo/current/systemd") / unit).read_text()
    assert sorted(path.name for path in (machine.root / UNITS).glob("duo-*")) == sorted(
        path.name for path in machine.at("/opt/stackc/duo/current/systemd").glob("duo-*")
    )
    assert not list(machine.at("/opt/stackc/duo/versions").glob(".*"))


def test_an_installed_stack_runs_and_starts_with_the_machine(running: InstalledMachine) -> None:
    assert running.running == [CODER, GENERAL]
    assert (running.root / UNITS / "multi-user.target.wants/duo.target").readlink() == Path("../duo.target")
    running.reboot("duo.target")
    assert running.running == [CODER, GENERAL]


def test_installing_twice_changes_nothing_the_second_time(machine: InstalledMachine) -> None:
    tree = machine.copy(PLAN)
    assert machine.run(tree, "install").returncode == 0
    before = machine.snapshot()
    assert machine.run(tree, "install").returncode == 0
    assert machine.snapshot() == before


def test_a_tree_whose_library_is_behind_a_link_is_installed_as_files(machine: InstalledMachine) -> None:
    """Through upgrade and rollback to the end: what is installed needs nothing of the repository."""
    old, new = machine.linked_copy(PLAN), machine.linked_copy(NEWER)
    for tree, name in ((old, "install"), (new, "upgrade")):
        done = machine.run(tree, name)
        assert done.returncode == 0, done.stderr
        version = machine.at(f"/opt/stackc/duo/versions/{tree.name}")
        assert not [path for path in version.rglob("*") if path.is_symlink()]
        assert (version / "lib/SHA256SUMS").read_bytes() == (tree / "lib/SHA256SUMS").read_bytes()
        subprocess.run(["sha256sum", "--check", "--quiet", "--strict", NAME], cwd=version, check=True)
    library = sorted((machine.copies / "_lib").rglob("*"))
    shutil.rmtree(machine.copies)
    installed = machine.at("/opt/stackc/duo/current")
    assert machine.run(machine.at(f"/opt/stackc/duo/{installed.readlink()}"), "rollback").returncode == 0
    assert machine.run(machine.at(f"/opt/stackc/duo/{installed.readlink()}"), "uninstall").returncode == 0
    assert library
    assert not machine.at("/opt/stackc/duo").exists()


def test_nothing_starts_unless_asked(machine: InstalledMachine) -> None:
    assert machine.run(machine.copy(PLAN), "install").returncode == 0
    assert machine.calls("start") == []


def test_a_dry_run_says_every_step_and_takes_none(machine: InstalledMachine) -> None:
    tree = machine.copy(PLAN)
    before = machine.snapshot()
    dry = machine.run(tree, "install", "--start", "--dry-run")
    assert (dry.returncode, machine.snapshot()) == (0, before)
    assert dry.stdout.endswith(" would be installed and started\n")
    wet = machine.run(tree, "install", "--start")
    steps = [line for line in wet.stdout.splitlines() if line.startswith("  ")]
    assert [line for line in dry.stdout.splitlines() if line.startswith("  ")] == steps


@pytest.mark.parametrize("name", ["upgrade", "rollback", "uninstall"])
def test_a_dry_run_on_a_running_stack_changes_nothing(running: InstalledMachine, name: str) -> None:
    newer = running.copy(NEWER)
    assert running.run(newer, "upgrade").returncode == 0
    before = (running.snapshot(), running.systemd)
    tree = running.copy(with_context(PLAN, "general", 4096)) if name == "upgrade" else newer
    done = running.run(tree, name, "--dry-run", "--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["steps"]
    assert " would be " in report["message"] or " would replace " in report["message"]
    assert " would " in running.run(tree, name, "--dry-run").stdout.splitlines()[-1]
    assert (running.snapshot(), running.systemd) == before


def test_a_damaged_copy_is_refused(machine: InstalledMachine) -> None:
    tree = machine.copy(PLAN)
    (tree / "systemd/duo.target").write_text("[Unit]\n")
    done = machine.run(tree, "install")
    assert done.returncode == 1
    assert "systemd/duo.target is not what SHA256SUMS says" in done.stderr
    assert not machine.at("/opt/stackc/duo").exists()


def test_what_was_edited_in_place_is_restored(running: InstalledMachine) -> None:
    unit = running.at(f"/opt/stackc/duo/current/systemd/{CODER}")
    text = unit.read_text()
    unit.write_text("[Service]\n")
    assert running.run(running.copy(PLAN), "install").returncode == 0
    assert unit.read_text() == text


@pytest.mark.parametrize(
    ("break_it", "code", "words"),
    [
        (lambda machine: machine.at("/etc/stackc/api-key").chmod(0o644), 17, "closed to other users"),
        (lambda machine: machine.at("/etc/stackc/api-key").unlink(), 17, "install -m 0600"),
        (lambda machine: machine.at("/etc/stackc/hf-token").write_text(""), 17, "hf-token: it is empty"),
        (lambda machine: machine.at("/etc/stackc/api-key").write_text("two words"), 17, "api-key: line 1: a line that"),
        (lambda machine: machine.at("/opt/vllm/bin/vllm").unlink(), 16, "requirements/vllm-0.33.0.txt"),
        (lambda machine: write_executable(machine.at("/opt/vllm/bin/vllm"), "#!/bin/sh\necho 0.1.0\n"), 16, "0.1.0"),
    ],
)
def test_what_would_keep_it_from_starting_is_said_before_anything_changes(
    machine: InstalledMachine, break_it: object, code: int, words: str
) -> None:
    tree = machine.copy(PLAN)
    break_it(machine)  # type: ignore[operator]
    before = machine.snapshot()
    done = machine.run(tree, "install")
    assert (done.returncode, machine.snapshot()) == (code, before)
    assert words in done.stderr
    assert "sk-secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("open_it", ["/opt/vllm/bin", "/opt/vllm/bin/vllm"])
def test_an_engine_that_others_may_change_is_warned_about(machine: InstalledMachine, open_it: str) -> None:
    tree = machine.copy(PLAN)
    assert "can be changed" not in machine.run(tree, "install", "--dry-run").stderr
    machine.at(open_it).chmod(0o777)
    assert f"`chown root:root {open_it} &&" in machine.run(tree, "install", "--dry-run").stderr
    machine.at("/opt/vllm/pyvenv.cfg").write_text("home = /usr/bin\n")
    done = machine.run(tree, "install", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"warning: {open_it} can be changed by others than root: `chown root:root -R /opt/vllm &&" in done.stderr


def test_an_old_systemd_is_refused(machine: InstalledMachine) -> None:
    (machine.root / "version").write_text("247")
    done = machine.run(machine.copy(PLAN), "install")
    assert done.returncode == 4
    assert "252 and later, this is 247" in done.stderr


def test_units_of_somebody_else_are_not_replaced(machine: InstalledMachine) -> None:
    foreign = machine.root / UNITS / CODER
    foreign.parent.mkdir(parents=True)
    foreign.write_text("[Service]\nExecStart=/bin/true\n")
    assert machine.run(machine.copy(PLAN), "install").returncode == 26
    assert foreign.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_units_that_were_copied_by_hand_become_links(machine: InstalledMachine) -> None:
    tree = machine.copy(PLAN)
    (machine.root / UNITS).mkdir(parents=True)
    shutil.copy(tree / "systemd" / CODER, machine.root / UNITS / CODER)
    assert machine.run(tree, "install").returncode == 0
    assert_whole(machine)


def test_only_one_installer_at_a_time(running: InstalledMachine) -> None:
    with running.at("/run/stackc-duo.install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert running.run(running.copy(NEWER), "upgrade").returncode == 23
    assert running.run(running.copy(NEWER), "upgrade").returncode == 0


def test_a_tree_without_units_has_no_installer(machine: InstalledMachine) -> None:
    bare = machine.copy(replace(PLAN, targets=("scripts",)))
    assert not (bare / "bin/install").exists()


def test_an_upgrade_restarts_what_changed_and_nothing_else(running: InstalledMachine) -> None:
    old = running.link("current")
    newer = running.copy(NEWER)
    done = running.run(newer, "upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_runs(running, newer.name, [CODER, GENERAL])
    assert running.calls("stop") == [[GENERAL]]
    assert running.link("previous") == old


def test_models_are_there_before_anything_stops(running: InstalledMachine) -> None:
    assert running.run(running.copy(NEWER), "upgrade").returncode == 0
    verbs = [(call[0], call[1:2]) for call in running.systemd["calls"]]
    assert verbs.index(("start", ["duo.stage.service"])) < verbs.index(("stop", [GENERAL]))


def test_a_service_that_is_gone_leaves_nothing(running: InstalledMachine) -> None:
    alone = replace(PLAN, services=PLAN.services[:1])
    tree = running.copy(alone)
    assert running.run(tree, "upgrade").returncode == 0
    assert_runs(running, tree.name, [CODER])


def test_a_service_that_is_new_runs_with_the_others(machine: InstalledMachine) -> None:
    assert machine.run(machine.copy(replace(PLAN, services=PLAN.services[:1])), "install", "--start").returncode == 0
    tree = machine.copy(PLAN)
    assert machine.run(tree, "upgrade").returncode == 0
    assert_runs(machine, tree.name, [CODER, GENERAL])


def test_a_gateway_that_stays_is_only_reloaded(machine: InstalledMachine) -> None:
    first = machine.run(machine.copy(with_gateway(PLAN, 8080)), "install", "--start")
    assert first.returncode == 0, first.stdout + first.stderr
    machine.forget_calls()
    assert machine.run(machine.copy(with_gateway(NEWER, 8080)), "upgrade").returncode == 0
    assert machine.calls("reload-or-restart") == [["duo-gateway.service"]]
    assert not [units for units in machine.calls("stop") if "duo-gateway.service" in units]


def test_a_stack_that_does_not_run_is_not_started_by_an_upgrade(machine: InstalledMachine) -> None:
    assert machine.run(machine.copy(PLAN), "install").returncode == 0
    newer = machine.copy(NEWER)
    assert machine.run(newer, "upgrade").returncode == 0
    assert (machine.running, machine.link("current")) == ([], newer.name)


def test_only_what_ran_before_runs_after_an_upgrade(machine: InstalledMachine) -> None:
    """Somebody serves with one server alone, without the target."""
    assert machine.run(machine.copy(PLAN), "install").returncode == 0
    subprocess.run([machine.tool("systemctl"), "start", GENERAL], check=True)
    newer = machine.copy(NEWER)
    assert machine.run(newer, "upgrade").returncode == 0
    assert_runs(machine, newer.name, [GENERAL])


def test_without_an_installation_there_is_nothing_to_upgrade(machine: InstalledMachine) -> None:
    assert machine.run(machine.copy(PLAN), "upgrade").returncode == 4


def test_installing_over_another_version_is_an_upgrade(running: InstalledMachine) -> None:
    assert running.run(running.copy(NEWER), "install").returncode == 2


@pytest.mark.parametrize("failure", ["unit", "smoke test"])
def test_an_upgrade_that_fails_leaves_the_old_version_running(running: InstalledMachine, failure: str) -> None:
    old = running.link("current")
    assert old is not None
    failing = "#!/bin/sh\necho 'FAIL  coder: chat: no answer'\nexit 1\n"
    tree = running.copy(broken(PLAN)) if failure == "unit" else running.copy(NEWER, **{"bin/smoke-test": failing})
    done = running.run(tree, "upgrade")
    assert done.returncode == 21
    assert f"version {old} is back" in done.stderr
    assert ("what the unit said" if failure == "unit" else "coder: chat: no answer") in done.stderr
    assert_runs(running, old, [CODER, GENERAL])
    assert not (running.at("/opt/stackc/duo/versions") / tree.name).exists()


def test_models_that_do_not_come_stop_nothing(running: InstalledMachine) -> None:
    prefetch = replace(NEWER, patches=Patches(systemd={"prefetch": {"Unit": {"After": "broken"}}}))
    done = running.run(running.copy(prefetch), "upgrade")
    assert done.returncode == 21
    assert running.calls("stop") == []
    assert not running.at("/run/systemd/system/duo.stage.service").exists()


def test_a_rollback_returns_and_a_second_one_comes_back(running: InstalledMachine) -> None:
    old, newer = running.link("current"), running.copy(NEWER)
    assert old is not None
    assert running.run(newer, "upgrade").returncode == 0
    for version in (old, newer.name):
        done = running.run(newer, "rollback")
        assert done.returncode == 0, done.stdout + done.stderr
        assert_runs(running, version, [CODER, GENERAL])


def test_the_first_version_has_nothing_to_go_back_to(running: InstalledMachine) -> None:
    assert running.run(running.copy(PLAN), "rollback").returncode == 22


def test_a_power_cut_at_any_step_of_an_upgrade_is_made_good(running: InstalledMachine) -> None:
    machine, saved = running, running.save()
    old = machine.copy(PLAN)
    newer = machine.copy(replace(NEWER, services=NEWER.services[1:]))
    for step in range(100):
        machine.restore(saved)
        if not machine.kill_at(step, newer, "upgrade"):
            break
        assert_whole(machine)
        # Half of the cuts take the machine down, the others the program alone.
        if step % 2:
            machine.reboot("duo.target")
            assert machine.link("current") in (old.name, newer.name)
        back = machine.run(newer, "rollback") if step % 3 == 0 else None
        if back is not None and back.returncode == 0:
            assert_runs(machine, old.name, [CODER, GENERAL])
        again = machine.run(newer, "upgrade")
        assert again.returncode == 0, (step, again.stdout, again.stderr)
        assert_runs(machine, newer.name, [GENERAL])
        assert machine.link("previous") in (old.name, newer.name)
    else:
        pytest.fail("an upgrade has no end")
    assert step > 10


@pytest.mark.parametrize("name", ["install", "rollback", "uninstall"])
def test_a_program_that_was_killed_finishes_when_it_is_run_again(machine: InstalledMachine, name: str) -> None:
    old, newer = machine.copy(PLAN), machine.copy(NEWER)
    if name != "install":
        assert machine.run(old, "install", "--start").returncode == 0
    if name == "rollback":
        assert machine.run(newer, "upgrade").returncode == 0
    saved = machine.save()
    for step in range(100):
        machine.restore(saved)
        options = ("--start",) if name == "install" else ()
        killed = machine.kill_at(step, old, name, *options)
        done = machine.run(old, name, *options) if killed else None
        assert done is None or done.returncode == 0, (step, done)
        if name == "uninstall":
            assert not machine.at("/opt/stackc/duo").exists()
            assert machine.running == []
        else:
            assert_runs(machine, old.name, [CODER, GENERAL])
        if not killed:
            return
    pytest.fail("it has no end")


def test_uninstalling_keeps_the_models_unless_asked(running: InstalledMachine) -> None:
    tree, model = running.copy(PLAN), running.at("/var/lib/stackc/duo/hf/model")
    model.parent.mkdir(parents=True)
    model.write_text("weights")
    assert running.run(tree, "uninstall").returncode == 0
    assert model.exists()
    assert not list((running.root / UNITS).rglob("duo*"))
    assert running.run(tree, "uninstall", "--purge").returncode == 0
    assert not running.at("/var/lib/stackc/duo").exists()


def test_another_stack_on_the_machine_is_left_alone(running: InstalledMachine) -> None:
    other = one_on_cpu()
    write_executable(running.at(other.engine.program), f"#!/bin/sh\necho {other.engine.version}\n")
    assert running.run(running.copy(other), "install", "--start").returncode == 0
    assert running.run(running.copy(PLAN), "uninstall", "--purge").returncode == 0
    assert running.running == ["cpu-tiny.service"]
    assert running.at("/opt/stackc/cpu/current/plan.json").exists()
