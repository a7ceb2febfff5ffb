"""Everything that may go wrong around a start: the exit code, the words, and a machine that is left as it was."""

from __future__ import annotations

import fcntl
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compiler.plan.ir import Timeouts
from compiler.render.environment import template_folder
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_executable
from tests.unit.script_machine import CARD, Machine

Breaking = Callable[[Machine], AbstractContextManager[object] | None]


@dataclass(frozen=True)
class Fault:
    """What is broken, which command notices, with which exit code, and what its message must say."""

    name: str
    breaks: Breaking
    command: tuple[str, ...]
    code: int
    words: tuple[str, ...]


def change_gpu(old: str, new: str) -> Breaking:
    return lambda machine: machine.set_gpus(CARD.replace(old, new))


def change_model(**changes: object) -> Breaking:
    def breaks(machine: Machine) -> None:
        model = replace(machine.plan.service("coder").model, **changes)  # type: ignore[arg-type]
        machine.install(with_service(machine.plan, "coder", model=model))

    return breaks


def set_environment(**changes: str) -> Breaking:
    return lambda machine: machine.environment.update(changes)


def take_port(machine: Machine) -> AbstractContextManager[object]:
    return socket.create_server(("127.0.0.1", machine.plan.service("coder").port))


def lose_snapshot(machine: Machine) -> None:
    folder = machine.snapshot("coder")
    folder.rename(folder.with_name("other"))


def cut_snapshot(machine: Machine) -> None:
    (machine.snapshot("coder") / "model.safetensors").write_bytes(b"half")


def close_cache(machine: Machine) -> None:
    """Below a plain file even root cannot write."""
    machine.environment["VLLM_CACHE_ROOT"] = str(machine.key / "cache")


def empty_key(machine: Machine) -> None:
    machine.key.write_text("", encoding="ascii")


def open_key(machine: Machine) -> None:
    machine.key.chmod(0o644)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    path.parent.mkdir()
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def hold_lock(machine: Machine) -> AbstractContextManager[object]:
    neighbour = Timeouts(ready=0, start=1, drain=1, stop=2)
    machine.install(with_service(machine.plan, "general", timeouts=neighbour))
    return _held(machine.root / "locks" / "gpu-0.lock")


def block_lock(machine: Machine) -> None:
    (machine.root / "locks").write_text("", encoding="ascii")


@contextmanager
def _dying(seconds: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", seconds]) as process:
        yield process
        process.kill()


def without_vllm(machine: Machine) -> None:
    (machine.root / "fake" / "vllm").unlink()


PREFLIGHT = ("preflight", "coder")
LAUNCH = ("launch-coder",)
PREFETCH = ("prefetch", "coder")
WAIT = ("wait-ready", "coder", "--timeout", "1")

FAULTS = (
    Fault("no driver", lambda machine: machine.set_gpus(exit_code=9), PREFLIGHT, 10, ("nvidia-smi failed",)),
    Fault("no GPU", lambda machine: machine.set_gpus(), PREFLIGHT, 10, ("sees no GPU", "powered")),
    Fault("old driver", change_gpu("580.95.05", "550.54.15"), PREFLIGHT, 10, ("driver 580 or newer", "install")),
    Fault("GPU missing", change_gpu("0, GPU", "3, GPU"), PREFLIGHT, 11, ("GPU index 0", "index 3", "nvidia-smi -L")),
    Fault("another GPU", change_gpu("12.0, 97887", "9.0, 81559"), PREFLIGHT, 11, ("capability 9.0", "the spec")),
    Fault("MIG is on", change_gpu("Disabled, E", "Enabled, E"), PREFLIGHT, 11, ("cut into MIG", "-mig 0")),
    Fault("orphan", change_gpu("97000", "40000"), PREFLIGHT, 12, ("process 4242", "sudo kill 4242")),
    Fault("disk full", change_model(weights_bytes=2**60), PREFLIGHT, 13, ("bytes too little", "hf cache prune")),
    Fault("no cache", close_cache, PREFLIGHT, 13, ("may not write", "owner")),
    Fault("port taken", take_port, PREFLIGHT, 14, ("cannot listen", "ss --listening")),
    Fault("no snapshot", lose_snapshot, PREFLIGHT, 15, ("does not exist", "run prefetch")),
    Fault("half a snapshot", cut_snapshot, PREFLIGHT, 15, ("4 bytes", "4096", "run prefetch")),
    Fault("another vLLM", lambda machine: machine.set_version("0.32.0"), PREFLIGHT, 16, ("0.33.0", "0.32.0")),
    Fault("no vLLM", without_vllm, PREFLIGHT, 16, ("no `vllm`", "STACKC_VLLM")),
    Fault("empty key", empty_key, PREFLIGHT, 17, ("it is empty", "write the key")),
    Fault("open key", open_key, PREFLIGHT, 17, ("everybody may read it", "chmod")),
    Fault("no key", set_environment(STACKC_API_KEY_FILE="/nowhere"), PREFLIGHT, 17, ("/nowhere", "README")),
    Fault("no snapshot at launch", lose_snapshot, LAUNCH, 15, ("does not exist", "prefetch coder")),
    Fault("no vLLM at launch", without_vllm, LAUNCH, 16, ("there is no vllm", "STACKC_VLLM")),
    Fault("empty key at launch", empty_key, LAUNCH, 17, ("it is empty",)),
    Fault("no key at launch", set_environment(STACKC_API_KEY_FILE="/nowhere"), LAUNCH, 17, ("cannot read",)),
    Fault("neighbour never ready", hold_lock, LAUNCH, 18, ("another server", "gpu-0.lock", "see its log")),
    Fault("no lock folder", block_lock, LAUNCH, 18, ("cannot create", "STACKC_LOCK_DIR")),
    Fault("never ready", lambda _: None, WAIT, 3, ("not ready after 1 s",)),
    Fault("no room to download", change_model(commit="f" * 40, weights_bytes=2**60), PREFETCH, 13, ("make room",)),
    Fault(
        "no network",
        lambda machine: (lose_snapshot(machine), set_environment(HF_HUB_OFFLINE="1")(machine))[1],
        PREFETCH,
        15,
        ("HF_HUB_OFFLINE", "--from DIR"),
    ),
    Fault("no hf", change_model(commit="f" * 40), PREFETCH, 4, ("no `hf`", "STACKC_VLLM")),
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path, two_on_one_gpu())
    made.set_gpus(CARD)
    write_executable(tmp_path / "fake" / "vllm", f"#!/bin/sh\n[ $# = 1 ] && echo 0.33.0 || touch {tmp_path}/started\n")
    return made


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_fault_is_named_with_its_remedy(machine: Machine, fault: Fault) -> None:
    broken = fault.breaks(machine)
    with broken if broken is not None else nullcontext():
        before = machine.files()
        done = machine.run(*fault.command)
        said = done.stdout + done.stderr
        assert done.returncode == fault.code, said
        for words in fault.words:
            assert words in said
        assert left_behind(machine, before) == set()


def left_behind(machine: Machine, before: dict[str, int]) -> set[str]:
    """Paths that are new, beside the lock that shows the next prefetch that the cache is in use."""
    kept = {str(machine.root / "hf" / "stackc-prefetch.lock")}
    return set(machine.files()) - set(before) - kept


@pytest.mark.parametrize("seconds", ["0.1", "0.6"])
def test_a_server_that_dies_at_any_second_ends_the_wait(machine: Machine, seconds: str) -> None:
    with _dying(seconds) as server:
        done = machine.run("wait-ready", "coder", "--timeout", "20", "--pid", str(server.pid))
    assert done.returncode == 4
    assert "gone" in done.stderr


@pytest.mark.parametrize("gpu", ["first", "second"])
def test_each_check_stands_for_itself(machine: Machine, gpu: str) -> None:
    """All are made, so that one visit to the machine mends everything; the first one decides."""
    machine.set_gpus(CARD.replace("97000", "100") if gpu == "first" else CARD)
    machine.set_version("0.1")
    machine.key.chmod(0o644)
    done = machine.preflight("coder")
    assert done.returncode == (12 if gpu == "first" else 17)
    assert done.stdout.count("FAIL") == (3 if gpu == "first" else 2)


def test_every_code_is_documented(machine: Machine) -> None:
    table = (template_folder() / "readme" / "codes.j2").read_text(encoding="utf-8")
    for fault in FAULTS:
        program = fault.command[0]
        shown = machine.run(program, "--help").stdout
        assert re.search(rf"\b{fault.code} \w", shown.partition("xit codes")[2]), (program, fault.code)
        assert re.search(rf"^\| {fault.code} \|", table, re.MULTILINE), fault.code
