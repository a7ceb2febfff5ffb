"""install and upgrade: what the engine compiles with is looked for as the units see it, and before anything changes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Patches
from tests.unit.equipped_machine import LAUNCHES, SAMPLES, WHEELS, needing
from tests.unit.installed_machine import InstalledMachine, with_context
from tests.unit.plan_samples import two_on_one_gpu, write_executable

PLAN = needing(two_on_one_gpu(), LAUNCHES, SAMPLES)
HEADER = "/opt/vllm/include/python3.12/Python.h"


@pytest.fixture
def machine(tmp_path: Path) -> InstalledMachine:
    """A whole machine, each of whose programs tells if it is run."""
    made = InstalledMachine.prepare(tmp_path, PLAN)
    for package in ("vllm-0.33.0", "flashinfer_python-0.7.2", *WHEELS):
        title, _, version = package.partition("-")
        metadata = f"/opt/vllm/lib/python3.12/site-packages/{package}.dist-info/METADATA"
        write_executable(made.at(metadata), f"Metadata-Version: 2.1\nName: {title}\nVersion: {version}\n")
    write_executable(made.at(HEADER), "")
    for program in ("/usr/bin/gcc", "/opt/vllm/bin/python3", "/opt/vllm/bin/python"):
        write_executable(made.at(program), f"#!/bin/sh\n: >{tmp_path}/was-run\nexit 1\n")
    return made


def test_a_whole_machine_is_installed_and_nothing_of_its_packages_runs(machine: InstalledMachine) -> None:
    """The installer is root, and the units' PATH begins with what pip has installed."""
    done = machine.run(machine.copy(PLAN), "install", "--start")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (machine.root.parent / "was-run").exists()
    assert machine.running == ["duo-coder.service", "duo-general.service"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/usr/bin/gcc", "no gcc/clang on PATH"),
        (HEADER, f"no {{root}}{HEADER}"),
        (f"/opt/vllm/lib/python3.12/site-packages/{WHEELS[0]}.dist-info/METADATA", "no flashinfer-cubin"),
    ],
)
def test_a_lack_stops_it_before_anything_changes(machine: InstalledMachine, path: str, words: str) -> None:
    machine.at(path).unlink()
    # A compiler of whoever installs is none of the server's.
    write_executable(machine.tool("gcc"), "#!/bin/sh\n")
    done = machine.run(machine.copy(PLAN), "install", "--start", CUDA_HOME=os.devnull)
    assert done.returncode == 31, done.stdout + done.stderr
    assert words.format(root=machine.root) in done.stderr
    assert not machine.at("/opt/stackc").exists()
    assert machine.systemd["calls"] == []


def test_what_the_units_environment_says_counts(machine: InstalledMachine) -> None:
    """Here that the sampler is not FlashInfer's, for one server of two."""
    machine.at(f"/opt/vllm/lib/python3.12/site-packages/{WHEELS[0]}.dist-info/METADATA").unlink()
    variables = ['"VLLM_USE_FLASHINFER_SAMPLER=0" A=50%%']
    patched = {name: {"Service": {"Environment": variables}} for name in ("coder", "general")}
    one = replace(PLAN, patches=Patches(systemd={"coder": patched["coder"]}))
    done = machine.run(machine.copy(one), "install")
    assert done.returncode == 31
    assert "(general)" in done.stderr
    both = replace(PLAN, patches=Patches(systemd=patched))
    assert machine.run(machine.copy(both), "install").returncode == 0


def test_an_upgrade_is_refused_while_the_old_version_serves_on(machine: InstalledMachine) -> None:
    assert machine.run(machine.copy(PLAN), "install", "--start").returncode == 0
    before = machine.link("current")
    machine.at("/usr/bin/gcc").unlink()
    done = machine.run(machine.copy(with_context(PLAN, "general", 8192)), "upgrade")
    assert done.returncode == 31, done.stdout + done.stderr
    assert machine.link("current") == before
    assert machine.running == ["duo-coder.service", "duo-general.service"]
