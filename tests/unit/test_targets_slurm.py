"""A stack as a job of Slurm: what it asks for, and what it does with a server that fails or is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.pipeline import render_plan
from compiler.plan.ir import Plan
from compiler.targets.slurm import emit_slurm
from tests.conftest import tool
from tests.unit.plan_samples import as_a_job, over_two_machines, two_on_one_gpu, write_executable


def options(plan: Plan) -> list[str]:
    (job,) = emit_slurm(plan)
    lines = job.text.splitlines()
    found = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    # Slurm reads none behind the first line that is no comment.
    assert lines[1 : 1 + len(found)] == [f"#SBATCH {option}" for option in found]
    return found


def spanning(rank: int) -> Plan:
    return replace(over_two_machines(rank), folder=f"gpu0{rank + 2}", targets=("slurm",), slurm=as_a_job().slurm)


def test_a_job_asks_for_a_whole_node() -> None:
    asked = options(as_a_job())
    assert {"--nodes=1", "--exclusive", "--mem=0", "--gres=gpu:h100:2", "--partition=gpus"} <= set(asked)
    assert not any(option.startswith("--nodelist") for option in asked), "any node of the partition will do"


def test_a_job_is_told_to_end_while_its_servers_still_have_time_to() -> None:
    stop = max(service.timeouts.stop for service in as_a_job().services)
    (seconds,) = (int(option.rpartition("@")[2]) for option in options(as_a_job()) if "--signal=B:TERM@" in option)
    assert seconds > stop


def test_one_job_runs_a_server_on_the_nodes_that_have_its_addresses() -> None:
    assert {"--nodes=2", "--nodelist=gpu02,gpu03", "--ntasks-per-node=1"} <= set(options(spanning(0)))
    assert not emit_slurm(spanning(1)), "a part is started by the job of the node that answers"
    (job,) = emit_slurm(spanning(0))
    assert "nodes=(gpu02 gpu03)" in job.text
    assert "./bin/join-group big -- ./bin/launch-big" in job.text


def test_servers_of_a_node_start_in_order() -> None:
    plan = replace(two_on_one_gpu(), targets=("slurm",), slurm=as_a_job().slurm)
    (job,) = emit_slurm(plan)
    assert "services=(coder general)" in job.text


@pytest.mark.parametrize("plan", [as_a_job, lambda: spanning(0)], ids=["node", "nodes"])
def test_a_job_is_clean_shell(plan: Callable[[], Plan], tmp_path: Path) -> None:
    (job,) = emit_slurm(plan())
    library = [each for each in render_plan(plan()) if each.path.name in ("keep", "slurm.bash")]
    paths = []
    for artifact in (job, *library):
        paths.append(tmp_path / artifact.path.name)
        paths[-1].write_text(artifact.text)
    subprocess.run([tool("shellcheck"), *map(str, paths)], check=True)


PROGRAM = """
import signal, sys, time
def end(*_):
    print("finished", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("runs", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    keep = next(each.text for each in render_plan(as_a_job()) if each.path.name == "keep")
    # Nobody waits twenty seconds here.
    write_executable(tmp_path / "tree/lib/keep", keep.replace("again_seconds=20", "again_seconds=0.05"))
    write_executable(tmp_path / "tree/bin/preflight", "#!/bin/sh\necho checks $1 >>checks; exit $(cat fault)\n")
    (tmp_path / "tree/fault").write_text("0\n")
    return tmp_path / "tree"


def keep(tree: Path, *program: str) -> subprocess.Popen[str]:
    command = [tree / "lib/keep", tree, "chat", *program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_what_failed_is_started_again_until_it_cannot_mend_itself(tree: Path) -> None:
    write_executable(tree / "server", "#!/bin/sh\necho run >>runs\n[ $(wc -l <runs) -lt 3 ] && exit 1\nexit 16\n")
    kept = keep(tree, "./server")
    said = kept.communicate(timeout=60)[0]
    assert kept.returncode == 16
    assert said.count("ended with status 1; it starts again") == 2
    assert (tree / "checks").read_text().splitlines() == ["checks chat"] * 3


def test_a_machine_that_fails_its_checks_runs_nothing(tree: Path) -> None:
    (tree / "fault").write_text("15\n")
    kept = keep(tree, "touch", "ran")
    kept.communicate(timeout=60)
    assert (kept.returncode, (tree / "ran").exists()) == (15, False)


def test_whoever_is_told_to_end_finishes_and_is_not_started_again(tree: Path) -> None:
    kept = keep(tree, sys.executable, "-c", PROGRAM)
    assert kept.stdout is not None
    assert kept.stdout.readline() == "runs\n"
    kept.send_signal(signal.SIGTERM)
    assert kept.communicate(timeout=60)[0] == "finished\n"
    assert kept.returncode == 0


def test_a_part_runs_from_the_tree_of_its_own_node(tree: Path) -> None:
    other = tree.parent / "gpu03"
    tree.rename(other)
    (tree.parent / "gpu02").symlink_to(other)
    command = [other / "lib/keep", "--beside", tree.parent / "gpu02", "chat", "sh", "-c", "pwd; exit 2"]
    environment = {"PATH": os.environ["PATH"], "SLURMD_NODENAME": "gpu03"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (2, str(other))
