"""What nvidia-smi says about this machine.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from _stack import JsonObject, StackError

EXIT_DRIVER, EXIT_IDENTITY = 10, 11
MIB = 2**20

_FIELDS = "index,uuid,name,compute_cap,memory.total,memory.free"
_SECONDS = 30


class Gpu(NamedTuple):
    """One GPU. Sizes are bytes; nvidia-smi's total is larger than the one that CUDA reports."""

    number: int
    uuid: str
    name: str
    compute_capability: str
    total: int
    free: int


def query_gpus() -> list[Gpu]:
    """All GPUs of this machine."""
    text = _nvidia_smi(f"--query-gpu={_FIELDS}")
    try:
        return [_parse(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise StackError(EXIT_DRIVER, f"cannot read nvidia-smi's answer: {error}") from error


def _parse(line: str) -> Gpu:
    number, uuid, name, capability, total, free = (field.strip() for field in line.split(","))
    if total == "[N/A]":  # GB10: the GPU's memory is the machine's, and nvidia-smi counts none of its own
        return Gpu(int(number), uuid, name, capability, *_main_memory())
    return Gpu(int(number), uuid, name, capability, int(total) * MIB, int(free) * MIB)


def _main_memory() -> tuple[int, int]:
    """Total and available bytes of the machine, as vLLM counts them on such a GPU (vllm/utils/mem_utils.py)."""
    facts = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii")))
    return int(facts["MemTotal"]) * 1024, int(facts["MemAvailable"]) * 1024


def find_gpu(gpus: list[Gpu], node: JsonObject, device: int) -> Gpu:
    """The GPU that the plan means: by UUID where it names them, else by index."""
    uuids = node["uuids"]
    for gpu in gpus:
        if gpu.uuid == uuids[device] if uuids else gpu.number == device:
            return gpu
    wanted = uuids[device] if uuids else f"index {device}"
    present = ", ".join(gpu.uuid if uuids else str(gpu.number) for gpu in gpus)
    raise StackError(EXIT_IDENTITY, f"plan: GPU {wanted}; this machine: {present or 'none'}")


def list_slices() -> dict[str, str]:
    """Every MIG slice of this machine: its UUID, and what nvidia-smi calls its profile."""
    found = re.findall(r"MIG (\S+) +Device +\d+: \(UUID: (MIG-[0-9a-f-]+)\)", _nvidia_smi("-L", form=()))
    return {uuid: profile for profile, uuid in found}


def users_of(gpu: Gpu) -> str:
    """Processes that hold memory of a GPU, for a message; never an error."""
    try:
        text = _nvidia_smi("--query-compute-apps=gpu_uuid,pid,process_name,used_memory")
    except StackError as error:
        return f"users unknown: {error}"
    lines = [line.split(",", 1)[1].strip() for line in text.splitlines() if line.startswith(gpu.uuid + ",")]
    return "in use by: " + "; ".join(f"{line} MiB" for line in lines) if lines else "no process is visible on it"


def _nvidia_smi(query: str, form: tuple[str, ...] = ("--format=csv,noheader,nounits",)) -> str:
    executable = shutil.which("nvidia-smi")
    if executable is None:
        raise StackError(EXIT_DRIVER, "nvidia-smi is not on PATH: is the NVIDIA driver installed?")
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
