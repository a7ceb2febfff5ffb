"""What nvidia-smi says about this machine.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import shutil
import subprocess
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
    return Gpu(int(number), uuid, name, capability, int(total) * MIB, int(free) * MIB)


def find_gpu(gpus: list[Gpu], node: JsonObject, device: int) -> Gpu:
    """The GPU that the plan means: by UUID where it names them, else by index."""
    uuids = node["uuids"]
    for gpu in gpus:
        if gpu.uuid == uuids[device] if uuids else gpu.number == device:
            return gpu
    wanted = uuids[device] if uuids else f"index {device}"
    present = ", ".join(gpu.uuid if uuids else str(gpu.number) for gpu in gpus)
    raise StackError(EXIT_IDENTITY, f"plan: GPU {wanted}; this machine: {present or 'none'}")


def users_of(gpu: Gpu) -> str:
    """Processes that hold memory of a GPU, for a message; never an error."""
    try:
        text = _nvidia_smi("--query-compute-apps=gpu_uuid,pid,process_name,used_memory")
    except StackError as error:
        return f"users unknown: {error}"
    lines = [line.split(",", 1)[1].strip() for line in text.splitlines() if line.startswith(gpu.uuid + ",")]
    return "in use by: " + "; ".join(f"{line} MiB" for line in lines) if lines else "no process is visible on it"


def _nvidia_smi(query: str) -> str:
    executable = shutil.which("nvidia-smi")
    if executable is None:
        raise StackError(EXIT_DRIVER, "nvidia-smi is not on PATH: is the NVIDIA driver installed?")
    command = [executable, query, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(EXIT_DRIVER, f"nvidia-smi does not answer: {error}") from error
    if answer.returncode != 0:
        raise StackError(EXIT_DRIVER, f"nvidia-smi failed: {(answer.stdout + answer.stderr).strip()}")
    return answer.stdout
