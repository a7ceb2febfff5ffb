"""What nvidia-smi says about this machine.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from stack import JsonObject, Sides, StackError

EXIT_DRIVER, EXIT_IDENTITY = 10, 11
MIB = 2**20
SHARED_MEMORY = ("8.7", "11.0", "12.1")  # compute capabilities of Jetson Orin, Jetson Thor and GB10

_FIELDS = (
    "index,uuid,name,compute_cap,memory.total,memory.free,"  # of the card
    "driver_version,mig.mode.current,persistence_mode"  # of how it is run
)
_SECONDS = 30


class Gpu(NamedTuple):
    """One GPU. Sizes are bytes; nvidia-smi's total is larger than the one that CUDA reports."""

    number: int
    uuid: str
    name: str
    compute_capability: str
    total: int
    free: int
    driver: str
    has_mig: bool
    is_persistent: bool
    page_cache: int = 0  # of `free`, what the system takes back from files only when it must; where memory is shared


class Holder(NamedTuple):
    """A process that holds memory of a GPU."""

    pid: str
    name: str
    mebibytes: str

    def __str__(self) -> str:
        """As a message shows it."""
        return f"process {self.pid} ({self.name}, {self.mebibytes} MiB)"


def query_gpus() -> list[Gpu]:
    """All GPUs of this machine."""
    text = _nvidia_smi(f"--query-gpu={_FIELDS}")
    try:
        return [_parse(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise StackError(EXIT_DRIVER, f"cannot read nvidia-smi's answer: {error}") from error


def _parse(line: str) -> Gpu:
    number, uuid, name, capability, total, free, driver, mig, persistence = map(str.strip, line.split(","))
    # GB10: the GPU's memory is the machine's, and nvidia-smi counts none of its own.
    is_shared = capability in SHARED_MEMORY or not total.isdigit()
    size, left, cache = main_memory() if is_shared else (int(total) * MIB, int(free) * MIB, 0)
    modes = (mig == "Enabled", persistence == "Enabled")
    return Gpu(int(number), uuid, name, capability, size, left, driver, *modes, cache)


def main_memory() -> tuple[int, int, int]:
    """Bytes of the machine: all, available, as vLLM counts them on such a GPU, and of these not free but page cache."""
    facts = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii")))
    total, available, free = (int(facts[name]) * 1024 for name in ("MemTotal", "MemAvailable", "MemFree"))
    return total, available, max(0, available - free)


def is_windows_beneath() -> bool:
    """Whether this is Linux within Windows (WSL2), whose driver is that of Windows."""
    try:
        return "microsoft" in Path("/proc/sys/kernel/osrelease").read_text(encoding="utf-8").lower()
    except OSError:
        return False


def find_gpu(gpus: list[Gpu], node: JsonObject, device: int) -> Gpu:
    """The GPU that the plan means: by UUID where it names them, else by index."""
    uuids = node["uuids"]
    for gpu in gpus:
        if gpu.uuid == uuids[device] if uuids else gpu.number == device:
            return gpu
    wanted = uuids[device] if uuids else f"index {device}"
    present = ", ".join(gpu.uuid if uuids else f"index {gpu.number}" for gpu in gpus)
    note = "`nvidia-smi -L` lists what is there: correct `gpus` in the spec, or look for the card in the kernel's log"
    raise StackError(EXIT_IDENTITY, Sides(f"GPU {wanted}", present or "no GPU", note))


def list_slices() -> dict[str, str]:
    """Every MIG slice of this machine: its UUID, and what nvidia-smi calls its profile."""
    found = re.findall(r"MIG (\S+) +Device +\d+: \(UUID: (MIG-[0-9a-f-]+)\)", _nvidia_smi("-L", form=()))
    return {uuid: profile for profile, uuid in found}


def slice_place(uuid: str) -> tuple[int, int]:
    """Numbers of a slice's card and of the slice in it, as NVML counts both; `nvidia-smi -L` prints NVML's."""
    card = -1
    for line in _nvidia_smi("-L", form=()).splitlines():
        if header := re.match(r"GPU (\d+):", line):
            card = int(header[1])
        found = re.search(r"MIG \S+ +Device +(\d+): \(UUID: (MIG-[0-9a-f-]+)\)", line)
        if found is not None and found[2] == uuid:
            return card, int(found[1])
    raise StackError(EXIT_IDENTITY, f"nvidia-smi does not list {uuid}")


def holders_of(gpu: Gpu) -> list[Holder]:
    """Processes that nvidia-smi sees on a GPU; those of other containers it may not see."""
    text = _nvidia_smi("--query-compute-apps=gpu_uuid,pid,process_name,used_memory")
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines()]
    return [Holder(row[1], ",".join(row[2:-1]), row[-1]) for row in rows if len(row) >= 4 and row[0] == gpu.uuid]


def _nvidia_smi(query: str, form: tuple[str, ...] = ("--format=csv,noheader,nounits",)) -> str:
    executable = shutil.which("nvidia-smi")
    if executable is None:
        raise StackError(EXIT_DRIVER, "nvidia-smi is not on PATH, so the NVIDIA driver is not installed")
    command = [executable, query, *form]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(EXIT_DRIVER, f"nvidia-smi does not answer: {error}") from error
    if answer.returncode != 0:
        raise StackError(EXIT_DRIVER, f"nvidia-smi failed: {(answer.stdout + answer.stderr).strip()}")
    return answer.stdout


def memory_by_process() -> dict[tuple[str, int], int | None]:
    """Bytes that each process holds of each GPU, by UUID and pid; None where the driver does not count them."""
    found: dict[tuple[str, int], int | None] = {}
    for line in _nvidia_smi("--query-compute-apps=gpu_uuid,pid,used_memory").splitlines():
        uuid, pid, used = (field.strip() for field in (*line.split(","), "", "")[:3])
        if pid.isdigit():
            found[uuid, int(pid)] = int(used) * MIB if used.isdigit() else None
    return found


def memory_in_use() -> dict[str, int]:
    """Bytes in use of each GPU by everybody, by UUID; GPUs that do not count them are left out."""
    pairs = (line.split(",") for line in _nvidia_smi("--query-gpu=uuid,memory.used").splitlines())
    return {pair[0].strip(): int(pair[1]) * MIB for pair in pairs if len(pair) == 2 and pair[1].strip().isdigit()}
