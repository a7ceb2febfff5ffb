"""One server over two nodes of a real Slurm, whose daemons run in namespaces, with a real vLLM on each.

Both nodes are this machine under two names, each with an address of its own; no unit of systemd is involved.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compiler.cli.run.lock import lock_spec
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.resolve.transport.hub import Hub
from tests.conftest import missing
from tests.engine.conftest import engine, tiny_model  # noqa: F401  (fixtures)
from tests.systemd.machine import Machine
from tests.systemd.test_installed import engine_mounts, install_engine
from tests.systemd.trees import copy_tree

pytestmark = pytest.mark.engine

NODES = {"one": "10.77.0.1", "two": "10.77.0.2"}
# Nobody else is on the machine's network, so that its daemons need not know each other by keys.
CLUSTER = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation=/srv/slurm
SlurmdSpoolDir=/srv/slurm-%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=1 RealMemory=1000
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=1 RealMemory=1000
PartitionName=batch Nodes=one,two Default=YES State=UP
"""
ASK = """
import json, urllib.request
body = {"model": "tiny", "prompt": "a", "max_tokens": 8}
request = urllib.request.Request(
    "http://127.0.0.1:8000/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
)
print(json.load(urllib.request.urlopen(request, timeout=60))["usage"]["completion_tokens"])
"""
SECONDS = 420.0


def plans_of(folder: Path, model: Path) -> tuple[Plan, ...]:
    spec = folder / "pair.yaml"
    data = {
        "stack": "pair",
        "engine": {"vllm": "0.32.0"},
        "nodes": {
            name: {"cpu": {"memory": "6GiB"}, "address": address, "interface": "lo"} for name, address in NODES.items()
        },
        "services": {"tiny": {"model": str(model), "machines": 2, "context": 256, "concurrency": 4, "port": 8000}},
        "targets": ["slurm"],
        "slurm": {"partition": "batch", "time": "1:00:00"},
        "paths": {"vllm": "/opt/vllm/bin/vllm", "state": "/srv/state/pair"},
    }
    spec.write_text(json.dumps(data))
    problems, _ = lock_spec(spec, spec.name, Hub("http://127.0.0.1:9"))
    assert not problems
    compiled, found = compile_stack(spec, spec.name)
    assert compiled is not None, found
    return compiled.plans


@dataclass(frozen=True, slots=True)
class Cluster:
    """The machine that is both nodes, and the job."""

    machine: Machine
    tree: str
    job: str

    def answers(self) -> bool:
        done = self.machine.run("python3", "-c", ASK)
        return done.returncode == 0 and int(done.stdout) > 0

    def wait_until_it_answers(self) -> None:
        self.machine.wait(self.answers, SECONDS, f"an answer\n{self.log()}")

    def log(self) -> str:
        return self.machine.run("sh", "-c", f"tail -c 4000 {self.tree}/*.log /var/log/slurm*.log").stdout

    def engines(self) -> list[str]:
        return self.machine.run("pgrep", "--full", "bin/vllm serve").stdout.split()


@pytest.fixture(scope="module")
def cluster(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:  # noqa: F811
    """A job that was submitted, with the trees of both nodes beside each other."""
    for name in ("slurmctld", "slurmd", "sbatch"):
        if shutil.which(name, path="/usr/sbin:/usr/bin") is None:
            missing(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("slurm")
    plans = plans_of(folder, tiny_model)
    with Machine.boot(folder, engine_mounts()) as machine:
        begin_cluster(machine)
        install_engine(machine)
        machine.copy(tiny_model, str(tiny_model))
        trees = {plan.node.name: copy_tree(machine, plan, folder, plan.node.name) for plan in plans}
        own = ("LD_LIBRARY_PATH=/opt/python/lib", "VLLM_CPU_OMP_THREADS_BIND=nobind")
        submitted = machine.must("env", *own, "sh", "-c", f"cd {trees['one']} && sbatch --parsable slurm/pair.sbatch")
        yield Cluster(machine, trees["one"], submitted.strip())


def begin_cluster(machine: Machine) -> None:
    machine.must("ip", "link", "set", "lo", "up")
    for address in NODES.values():
        machine.must("ip", "address", "add", f"{address}/32", "dev", "lo")
    machine.write("/etc/slurm/slurm.conf", CLUSTER.format(host=machine.must("hostname", "-s").strip()))
    # It is asked for nothing, and does not look which one the machine has.
    machine.write("/etc/slurm/cgroup.conf", "CgroupPlugin=cgroup/v1\n")
    machine.must("mkdir", "-p", "/srv/slurm", "/srv/slurm-one", "/srv/slurm-two", "/srv/state/pair", "/var/log")
    machine.must("systemd-run", "--unit=slurmctld-test", "/usr/sbin/slurmctld", "-D")
    for name in NODES:
        machine.must("systemd-run", f"--unit=slurmd-{name}", "/usr/sbin/slurmd", "-D", "-N", name)
    try:
        machine.wait(lambda: "idle one,two" in " ".join(machine.run("sinfo").stdout.split()), 60, "both nodes")
    except AssertionError as error:
        error.add_note(machine.run("sh", "-c", "tail -n 20 /var/log/slurm*.log").stdout)
        raise


def test_a_job_runs_one_server_on_two_nodes(cluster: Cluster) -> None:
    cluster.wait_until_it_answers()
    assert cluster.machine.must("squeue", "--noheader", "--format=%D %T").split() == ["2", "RUNNING"]


def test_a_part_that_is_killed_comes_back_inside_the_job(cluster: Cluster) -> None:
    before = set(cluster.engines())
    cluster.machine.must("kill", "-9", *before)
    cluster.machine.wait(lambda: before.isdisjoint(cluster.engines()), 120, "the end of both parts")
    cluster.wait_until_it_answers()
    assert cluster.machine.must("squeue", "--noheader", "--format=%T").split() == ["RUNNING"]


def test_a_job_that_is_told_to_end_leaves_nothing(cluster: Cluster) -> None:
    cluster.machine.must("scancel", "--signal=TERM", "--batch", cluster.job)
    cluster.machine.wait(lambda: not cluster.machine.must("squeue", "--noheader").strip(), 180, "the job's end")
    assert not cluster.engines()
    assert "a server has ended for good" not in cluster.log()
