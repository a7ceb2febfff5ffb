"""preflight: the machine must be the one that the plan was proven for."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import GpuNode, Plan
from compiler.units import GIB
from tests.unit.plan_samples import (
    PATH,
    UUIDS,
    one_on_cpu,
    one_on_two_gpus,
    two_on_one_gpu,
    with_service,
    write_executable,
    write_model,
    write_snapshot,
    write_tree,
)

# An RTX PRO 6000 as nvidia-smi sees it: more memory than CUDA reports.
CARD = f"0, {UUIDS[0]}, NVIDIA RTX PRO 6000 Blackwell, 12.0, 97887, 97000"
H100S = [f"{index}, {uuid}, NVIDIA H100 80GB HBM3, 9.0, 81559, 81000" for index, uuid in enumerate(UUIDS)]


class Machine:
    """A machine with fake tools and complete models."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root = root
        for service in plan.services:
            plan = with_service(plan, service.name, port=free_port())
            if service.model.repository:
                commit = service.model.commit or ""
                write_snapshot(root / "hf", service.model.repository, commit + "0" * (40 - len(commit)))
        self.plan = plan
        self.tree = write_tree(plan, root / "tree")
        self.environment = {
            "PATH": f"{root}/fake:{PATH}",
            "HOME": str(root),
            "HF_HOME": str(root / "hf"),
            "VLLM_CACHE_ROOT": str(root / "cache"),
        }
        self.set_version("0.33.0")

    def set_gpus(self, *lines: str, exit_code: int = 0) -> None:
        answer = "\n".join(lines)
        script = f"""#!/bin/sh
case "$1" in *compute-apps*) echo '{UUIDS[0]}, 4242, VLLM::EngineCore, 50000' ;; *) cat <<'END'
{answer}
END
esac
exit {exit_code}
"""
        write_executable(self.root / "fake" / "nvidia-smi", script)

    def set_version(self, version: str) -> None:
        write_executable(self.root / "fake" / "vllm", f"#!/bin/sh\necho 'INFO starting'\necho {version}\n")

    def preflight(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.tree / "bin" / "preflight"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=20, check=False)
        assert "Traceback" not in done.stderr
        return done


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path, two_on_one_gpu())
    made.set_gpus(CARD)
    return made


def test_the_planned_machine_passes(machine: Machine) -> None:
    done = machine.preflight()
    assert done.returncode == 0, done.stdout
    assert "0 failed, 2 skipped" in done.stdout  # /dev/shm is only for several workers
    # Both sides of a comparison are printed, also when it holds.
    assert "plan: NVIDIA RTX PRO 6000, compute capability 12.0, 94.00 GiB; this machine:" in done.stdout


def test_json_carries_the_same(machine: Machine) -> None:
    machine.set_version("0.32.0")
    done = machine.preflight("--json", "coder")
    report = json.loads(done.stdout)
    assert report["exit_code"] == done.returncode == 16
    assert [check["check"] for check in report["checks"] if check["status"] == "fail"] == ["version"]


def test_without_a_driver_nothing_that_needs_it_is_asked(machine: Machine) -> None:
    machine.set_gpus(exit_code=9)
    done = machine.preflight()
    assert done.returncode == 10
    assert "skip  gpu01:0: memory: the driver check failed" in done.stdout


@pytest.mark.parametrize(
    "card",
    [
        CARD.replace("12.0", "9.0"),
        CARD.replace("97887", "81559"),
        CARD.replace("0, GPU", "1, GPU"),
    ],
)
def test_another_gpu_is_refused(machine: Machine, card: str) -> None:
    machine.set_gpus(card)
    assert machine.preflight().returncode == 11


def test_gpus_are_found_by_uuid_wherever_they_are(tmp_path: Path) -> None:
    made = Machine(tmp_path, replace(one_on_two_gpus(), verdict=one_on_two_gpus().verdict))
    made.plan = with_service(made.plan, "big", host="127.0.0.1")
    write_tree(made.plan, made.tree)
    made.set_gpus(*(f"{7 - number}{line[1:]}" for number, line in enumerate(H100S)))
    done = made.preflight("--skip", "shm")
    assert done.returncode == 0, done.stdout
    made.set_gpus(H100S[0], H100S[1].replace(UUIDS[1], "GPU-deadbeef"))
    assert made.preflight().returncode == 11


SLICE = "MIG-00000000-1111-2222-3333-444444444444"


@pytest.mark.parametrize(
    ("profile", "uuid", "code"), [("3g.40gb", SLICE, 0), ("1g.10gb", SLICE, 11), ("3g.40gb", "MIG-0", 11)]
)
def test_a_slice_is_the_planned_one_or_none(tmp_path: Path, profile: str, uuid: str, code: int) -> None:
    plan = two_on_one_gpu()
    assert isinstance(plan.node, GpuNode)
    made = Machine(tmp_path, replace(plan, node=replace(plan.node, mig="3g.40gb", uuids=(SLICE,))))
    made.set_gpus("GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)", f"  MIG {profile}     Device  0: (UUID: {uuid})")
    done = made.preflight()
    assert done.returncode == code, done.stdout


def test_a_gpu_without_memory_of_its_own_is_asked_for_the_machine_s(machine: Machine) -> None:
    """GB10: nvidia-smi has no figure for a memory that the CPU uses too."""
    machine.set_gpus(CARD.replace("97887, 97000", "[N/A], [N/A]"))
    done = machine.preflight("coder")
    assert done.returncode in (0, 11, 12), done.stdout
    assert "nvidia-smi sees 1 GPUs" in done.stdout
    assert "plan: NVIDIA RTX PRO 6000, compute capability 12.0, 94.00 GiB; this machine:" in done.stdout


def test_occupied_memory_names_who_holds_it(machine: Machine) -> None:
    machine.set_gpus(CARD.replace("97000", "40000"))
    done = machine.preflight("coder")
    assert done.returncode == 12
    assert "4242, VLLM::EngineCore, 50000 MiB" in done.stdout


def test_one_server_needs_less_than_both(machine: Machine) -> None:
    # coder asks vLLM for 51 % of 94 GiB, and takes half a GiB outside; general 33 %.
    machine.set_gpus(CARD.replace("97000", str(50 * 1024)))
    assert machine.preflight("coder").returncode == 0
    assert machine.preflight().returncode == 12


def test_a_dying_predecessor_gets_time(machine: Machine) -> None:
    machine.set_gpus(CARD.replace("97000", "40000"))
    tool = machine.root / "fake" / "nvidia-smi"
    busy = tool.read_text()
    machine.set_gpus(CARD)
    healthy = write_executable(machine.root / "fake" / "healthy", tool.read_text())
    # The first three answers (driver, identity, memory) are of the busy GPU.
    count = machine.root / "count"
    write_executable(machine.root / "fake" / "busy", busy)
    choose = f'[ "$(wc -l <{count})" -gt 3 ] && exec {healthy} "$@"'
    write_executable(tool, f'#!/bin/sh\necho x >>{count}\n{choose}\nexec {tool.parent}/busy "$@"\n')
    assert machine.preflight("--wait", "10", "coder").returncode == 0


def test_a_taken_port_is_found(machine: Machine) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", machine.plan.service("coder").port))
        other.listen()
        done = machine.preflight()
    assert done.returncode == 14
    assert f"127.0.0.1:{machine.plan.service('coder').port}" in done.stdout


@pytest.mark.parametrize("damage", ["folder", "config.json", "model.safetensors", "shard", "link", "short"])
def test_an_incomplete_model_is_found(machine: Machine, damage: str) -> None:
    folder = next((machine.root / "hf" / "hub" / "models--org--coder-awq" / "snapshots").iterdir())
    if damage == "folder":
        folder.rename(folder.with_name("other"))
    elif damage == "shard":
        index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="ascii")
    elif damage == "link":
        (folder / "tokenizer.json").symlink_to("../../blobs/gone")
    elif damage == "short":
        (folder / "model.safetensors").write_bytes(b"x")
    else:
        (folder / damage).unlink()
    done = machine.preflight("coder")
    assert done.returncode == 15, done.stdout


def test_another_commit_is_not_the_planned_model(machine: Machine) -> None:
    (machine.root / "hf" / "hub" / "models--org--general" / "refs" / "main").write_text("f" * 40, encoding="ascii")
    done = machine.preflight("general")
    assert done.returncode == 15
    assert "89abcde" in done.stdout


@pytest.mark.parametrize(("version", "code"), [("0.33.0+cpu", 0), ("0.33.1", 16), ("", 16)])
def test_the_release_must_be_the_planned_one(machine: Machine, version: str, code: int) -> None:
    machine.set_version(version)
    assert machine.preflight("coder").returncode == code


def test_a_cache_that_cannot_be_written_is_found(machine: Machine) -> None:
    machine.environment["VLLM_CACHE_ROOT"] = "/proc/cache"
    assert machine.preflight("coder").returncode == 13


def test_a_skip_is_no_pass(machine: Machine) -> None:
    machine.set_version("0.32.0")
    done = machine.preflight("coder", "--skip", "version")
    assert done.returncode == 0
    assert "skip  gpu01: version: asked by --skip" in done.stdout
    assert "0 failed, 2 skipped" in done.stdout


@pytest.mark.parametrize("arguments", [["nobody"], ["--skip", "x"], ["--wait", "nan"]])
def test_wrong_usage_is_refused(machine: Machine, arguments: list[str]) -> None:
    assert machine.preflight(*arguments).returncode == 2


def test_a_cpu_node_is_asked_for_main_memory_and_no_driver(tmp_path: Path) -> None:
    plan = one_on_cpu()
    folder = str(write_model(tmp_path / "model"))
    plan = with_service(
        plan, "tiny", model=replace(plan.service("tiny").model, folder=folder), gpu_memory_utilization=0
    )
    ledger = plan.devices[0].servers[0]
    small = replace(plan.devices[0], total=GIB, servers=(replace(ledger, rows=ledger.rows[:1]),))
    made = Machine(tmp_path, replace(plan, devices=(small,), node=replace(plan.node, memory=GIB)))
    done = made.preflight()
    assert done.returncode == 0, done.stdout
    assert "driver" not in done.stdout
    huge = replace(plan.devices[0], total=2**50, servers=(replace(ledger, rows=ledger.rows[:1]),))
    write_tree(replace(made.plan, devices=(huge,), node=replace(plan.node, memory=2**50)), made.tree)
    assert made.preflight().returncode == 12


@pytest.mark.parametrize("first", ["#!{python}", "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''"])
def test_the_version_is_read_without_importing_the_engine(machine: Machine, first: str) -> None:
    """A start of vLLM only to hear its version would double the start of a server."""
    packages = machine.root / "packages"
    write_executable(
        packages / "vllm-0.33.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: vllm\nVersion: 0.33.0\n"
    )
    python = machine.root / "venv" / "bin" / "python"
    write_executable(python, f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    write_executable(machine.root / "fake" / "vllm", first.format(python=python) + "\nraise SystemExit('imported')\n")
    done = machine.preflight("coder", "--skip", "disk")
    assert "is vLLM 0.33.0" in done.stdout, done.stdout


def test_a_vllm_that_cannot_be_imported_says_why(machine: Machine) -> None:
    write_executable(
        machine.root / "fake" / "vllm", "#!/bin/sh\necho noise\necho 'ImportError: no torch' >&2\nexit 1\n"
    )
    done = machine.preflight("coder")
    assert done.returncode == 16
    assert "failed with 1 and said: ImportError: no torch" in done.stdout
