"""preflight: the machine must be the one that the plan was proven for."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from compiler.engines.vllm.releases import RELEASES
from compiler.plan.ir import GpuNode, ModelFile
from compiler.units import GIB
from tests.unit.plan_samples import (
    UUIDS,
    one_beside_other_cards,
    one_on_two_gpus,
    two_on_one_gpu,
    with_service,
    write_executable,
)
from tests.unit.script_machine import CARD, H100S, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path, two_on_one_gpu())
    made.set_gpus(CARD)
    return made


def test_the_planned_machine_passes(machine: Machine) -> None:
    done = machine.preflight()
    assert done.returncode == 0, done.stdout
    assert "0 failed, 2 skipped" in done.stdout  # /dev/shm is only for several workers, the token for the download
    # Both sides of a comparison are printed, also when it holds.
    assert "plan: NVIDIA RTX PRO 6000, compute capability 12.0, 94.00 GiB; this machine: NVIDIA RTX" in done.stdout


def test_json_carries_the_same(machine: Machine) -> None:
    machine.set_version("0.32.0")
    done = machine.preflight("--json", "coder")
    report = json.loads(done.stdout)
    assert report["exit_code"] == done.returncode == 16
    (failed,) = [check for check in report["checks"] if check["status"] == "fail"]
    assert failed["check"] == "version"
    assert failed["plan"] == "vLLM 0.33.0"
    assert failed["found"].endswith("0.32.0")
    for check in report["checks"]:
        assert check["status"] == "skip" or (check["plan"] and check["found"])


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
        CARD.replace("97887", "143771"),
        CARD.replace("0, GPU", "1, GPU"),
        # The same memory and capability in a slower card.
        CARD.replace("RTX PRO 6000", "RTX PRO 5500"),
        CARD.replace("Workstation Edition", "Laptop GPU"),
        CARD.replace("Disabled, Enabled", "Enabled, Enabled"),
    ],
)
def test_another_gpu_is_refused(machine: Machine, card: str) -> None:
    machine.set_gpus(card)
    assert machine.preflight().returncode == 11


def test_figures_of_the_spec_may_be_cautious(machine: Machine) -> None:
    """Whoever declares 70 GiB of a 94 GiB card knows why."""
    device = replace(machine.plan.devices[0], total=70 * GIB, total_source="declared in the spec")
    machine.install(replace(machine.plan, devices=(device,)))
    assert machine.preflight().returncode == 0


@pytest.mark.parametrize(("driver", "code"), [("570.211.01", 10), ("580.65.06", 0), ("1000.1", 0)])
def test_a_driver_older_than_the_engine_s_cuda_is_refused(machine: Machine, driver: str, code: int) -> None:
    machine.set_gpus(CARD.replace("580.95.05", driver))
    done = machine.preflight()
    assert done.returncode == code, done.stdout
    assert f"plan: driver 580 or newer for CUDA 13; this machine: driver {driver}" in done.stdout


def test_every_gpu_release_knows_its_driver() -> None:
    for release in RELEASES.values():
        assert (release.minimum_driver is not None) == (release.build == "gpu")


def test_a_driver_that_falls_asleep_is_named(machine: Machine) -> None:
    machine.set_gpus(CARD.replace("Disabled, Enabled", "Disabled, Disabled"))
    done = machine.preflight("coder")
    assert done.returncode == 0
    assert "enable nvidia-persistenced" in done.stdout


def test_gpus_that_come_late_at_boot_get_time(machine: Machine) -> None:
    tool = machine.root / "fake" / "nvidia-smi"
    whole = write_executable(machine.root / "fake" / "later", tool.read_text())
    count = machine.root / "count"
    script = f'#!/bin/sh\necho x >>{count}\n[ "$(wc -l <{count})" -gt 2 ] && exec {whole} "$@"\n'
    write_executable(tool, script + "echo 'No devices were found'; exit 6\n")
    assert machine.preflight("coder").returncode == 10
    count.unlink()
    assert machine.preflight("--wait", "10", "coder").returncode == 0


def test_gpus_are_found_by_uuid_wherever_they_are(tmp_path: Path) -> None:
    made = Machine(tmp_path, replace(one_on_two_gpus(), verdict=one_on_two_gpus().verdict))
    made.install(with_service(made.plan, "big", host="127.0.0.1"))
    made.set_gpus(*(f"{7 - number}{line[1:]}" for number, line in enumerate(H100S)))
    done = made.preflight("--skip", "shm")
    assert done.returncode == 0, done.stdout
    made.set_gpus(H100S[0], H100S[1].replace(UUIDS[1], "GPU-deadbeef"))
    done = made.preflight()
    assert done.returncode == 11
    assert f"plan: GPU {UUIDS[1]}; this machine: {UUIDS[0]}, GPU-deadbeef" in done.stdout


def test_each_card_of_several_models_is_looked_for_at_its_number(tmp_path: Path) -> None:
    plan = one_beside_other_cards()
    assert isinstance(plan.node, GpuNode)
    other = replace(plan.devices[1], total=22 * GIB, servers=())
    made = Machine(tmp_path, replace(plan, node=replace(plan.node, uuids=()), devices=(plan.devices[0], other)))
    made.install(with_service(made.plan, "big", host="127.0.0.1"))
    l4 = f"1, {UUIDS[1]}, NVIDIA L4, 8.9, 23034, 22500, 580.95.05, Disabled, Enabled"
    made.set_gpus(H100S[0], l4)
    done = made.preflight("--skip", "shm")
    assert done.returncode == 0, done.stdout
    made.set_gpus(f"0{l4[1:]}", f"1{H100S[0][1:]}")
    done = made.preflight("--skip", "shm")
    assert done.returncode == 11
    assert "list the node's `gpus` in the order of `nvidia-smi -L`" in done.stdout


SLICE = "MIG-00000000-1111-2222-3333-444444444444"


@pytest.mark.parametrize(
    ("profile", "uuid", "code"), [("3g.40gb", SLICE, 0), ("1g.10gb", SLICE, 11), ("3g.40gb", "MIG-0", 11)]
)
def test_a_slice_is_the_planned_one_or_none(tmp_path: Path, profile: str, uuid: str, code: int) -> None:
    plan = two_on_one_gpu()
    assert isinstance(plan.node, GpuNode)
    made = Machine(tmp_path, replace(plan, node=replace(plan.node, mig="3g.40gb", uuids=(SLICE,))))
    made.set_gpus(H100S[0], slices=f"  MIG {profile}     Device  0: (UUID: {uuid})")
    done = made.preflight()
    assert done.returncode == code, done.stdout


def test_a_gpu_without_memory_of_its_own_is_asked_for_the_machine_s(machine: Machine) -> None:
    """GB10: nvidia-smi has no figure for a memory that the CPU uses too."""
    machine.set_gpus(CARD.replace("97887, 97000", "[N/A], [N/A]"))
    done = machine.preflight("coder")
    assert done.returncode in (0, 11, 12), done.stdout
    assert "driver 580.95.05, 1 GPUs" in done.stdout
    assert "plan: NVIDIA RTX PRO 6000, compute capability 12.0, 94.00 GiB; this machine:" in done.stdout


@pytest.mark.parametrize(
    ("available", "free", "note"),
    [
        (100, 90, ""),
        (100, 30, "drop the page cache first"),
        (40, 30, "no process is visible on it"),
    ],
)
def test_a_shared_memory_is_measured_with_its_page_cache(
    scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, available: int, free: int, note: str
) -> None:
    """GB10: what is available may be the files of the weights, which the driver does not get in time."""
    sizes = (119 * GIB, available * GIB, (available - free) * GIB)
    monkeypatch.setattr(scripts.gpu, "main_memory", lambda: sizes)
    line = "0, GPU-a, NVIDIA GB10, 12.1, [N/A], [N/A], 580.95.05, Disabled, Enabled"
    monkeypatch.setattr(scripts.gpu, "query_gpus", lambda: [scripts.gpu._parse(line)])
    monkeypatch.setattr(scripts.gpu, "holders_of", lambda _: [])
    server = {"service": "s", "rows": [], "budget_bytes": {"expected": 50 * GIB}}
    device = {"index": 0, "total_bytes": 119 * GIB, "servers": [server]}
    asked = [{"name": "s", "gpu_memory_utilization": 0.4}]
    try:
        sides = scripts.gpu.check_gpu_memory({"uuids": []}, device, asked)
    except scripts.stack.StackError as error:
        sides = error.args[1] if len(error.args) > 1 else error.args[0]
    assert f"{available}.00 GiB of 119.00 GiB are available, {available - free}.00 GiB of them" in str(sides)
    assert note in str(sides)
    assert note or "drop" not in str(sides)


@pytest.mark.parametrize(("free", "windows", "fits"), [(50, True, False), (50, False, True), (52, True, True)])
def test_under_windows_a_server_takes_more(
    scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, free: int, windows: bool, fits: bool
) -> None:
    line = f"0, GPU-a, NVIDIA RTX 6000, 8.9, 98304, {free * 1024}, 580.95.05, Disabled, Enabled"
    monkeypatch.setattr(scripts.gpu, "query_gpus", lambda: [scripts.gpu._parse(line)])
    monkeypatch.setattr(scripts.gpu, "is_windows_beneath", lambda: windows)
    monkeypatch.setattr(scripts.gpu, "holders_of", lambda _: [])
    servers = [{"service": name, "rows": [], "budget_bytes": {"expected": 50 * GIB}} for name in ("s", "other")]
    device = {"index": 0, "total_bytes": 96 * GIB, "servers": servers}
    asked = [{"name": "s", "gpu_memory_utilization": 0.4}]
    if fits:
        scripts.gpu.check_gpu_memory({"uuids": []}, device, asked)
    else:
        with pytest.raises(scripts.stack.StackError) as error:
            scripts.gpu.check_gpu_memory({"uuids": []}, device, asked)
        assert "1.54 GiB more than on Linux itself: give the node that much `reserve`" in str(error.value.args)


def test_windows_is_known_by_the_kernel_s_name(
    scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for release, found in (("5.15.167.4-microsoft-standard-WSL2", True), ("6.8.0-45-generic", False)):
        monkeypatch.setattr(Path, "read_text", lambda *_, text=release, **__: f"{text}\n")
        assert scripts.gpu.is_windows_beneath() is found
    monkeypatch.undo()


def test_occupied_memory_names_who_holds_it(machine: Machine) -> None:
    machine.set_gpus(CARD.replace("97000", "40000"))
    done = machine.preflight("coder")
    assert done.returncode == 12
    assert "held by process 4242 (VLLM::EngineCore, 50000 MiB)" in done.stdout
    assert "sudo kill 4242" in done.stdout


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
    # The first four answers (driver, devices, identity, memory) are of the busy GPU.
    count = machine.root / "count"
    write_executable(machine.root / "fake" / "busy", busy)
    choose = f'[ "$(wc -l <{count})" -gt 4 ] && exec {healthy} "$@"'
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
    assert "0 failed, 3 skipped" in done.stdout


@pytest.mark.parametrize("arguments", [["nobody"], ["gateway"], ["--skip", "x"], ["--wait", "nan"]])
def test_wrong_usage_is_refused(machine: Machine, arguments: list[str]) -> None:
    assert machine.preflight(*arguments).returncode == 2


def test_downloads_of_all_models_together_must_fit(machine: Machine) -> None:
    """Each alone would fit into what is free."""
    free = os.statvfs(machine.root)
    size = int(free.f_bavail * free.f_frsize * 0.7)
    for name in ("coder", "general"):
        model = replace(machine.plan.service(name).model, weights_bytes=size)
        machine.install(with_service(machine.plan, name, model=model))
    done = machine.preflight()
    assert "bytes too little" in done.stdout
    assert "FAIL  gpu01: disk: plan: " in done.stdout


def test_a_file_of_another_size_is_not_the_locked_one(machine: Machine) -> None:
    file = ModelFile("model.safetensors", 5000, None)
    model = replace(machine.plan.service("coder").model, files=(file,))
    machine.install(with_service(machine.plan, "coder", model=model))
    done = machine.preflight("coder")
    assert done.returncode == 15
    assert "model.safetensors has 4096 bytes, the plan 5000; run prefetch" in done.stdout


@pytest.mark.parametrize(("content", "code"), [(bytes(4096), 0), (b"x" * 4096, 15)])
def test_verify_compares_hashes(machine: Machine, content: bytes, code: int) -> None:
    file = ModelFile("model.safetensors", 4096, hashlib.sha256(content).hexdigest())
    model = replace(machine.plan.service("coder").model, files=(file,))
    machine.install(with_service(machine.plan, "coder", model=model))
    assert machine.preflight("coder").returncode == 0
    done = machine.preflight("coder", "--verify")
    assert done.returncode == code, done.stdout
    assert ("1 hashes are right" in done.stdout) == (code == 0)


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


@pytest.mark.parametrize(("version", "code"), [("0.33.0", 0), ("0.32.0", 16)])
def test_the_version_of_a_virtual_environment_is_read_without_running_any_of_it(
    machine: Machine, version: str, code: int
) -> None:
    """The installer asks as root, and an interpreter runs what packages leave in `.pth` files."""
    venv = machine.root / "venv"
    metadata = venv / f"lib/python3.11/site-packages/vllm-{version}.dist-info/METADATA"
    write_executable(metadata, f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    write_executable(venv / "pyvenv.cfg", "home = /usr/bin\n")
    write_executable(venv / "bin/python", f"#!/bin/sh\ntouch {machine.root}/was-run\n")
    write_executable(venv / "bin/vllm", f"#!{venv}/bin/python\n")
    done = machine.run("preflight", "--only", "version", STACKC_VLLM=str(venv / "bin/vllm"))
    assert done.returncode == code, done.stdout
    assert f"is vLLM {version}" in done.stdout
    assert not (machine.root / "was-run").exists()


def test_a_vllm_that_cannot_be_imported_says_why(machine: Machine) -> None:
    write_executable(
        machine.root / "fake" / "vllm", "#!/bin/sh\necho noise\necho 'ImportError: no torch' >&2\nexit 1\n"
    )
    done = machine.preflight("coder")
    assert done.returncode == 16
    assert "failed with 1 and said: ImportError: no torch" in done.stdout
