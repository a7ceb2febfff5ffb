"""What nvidia-smi says about this machine.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from stack import JsonObject, LastingError, Sides, StackError

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


EXIT_MEMORY, EXIT_SLICE = 12, 31
GIB = 2**30
# nvidia-smi's total exceeds CUDA's by 1.5 to 13 % (most on a small card whose ECC may be switched off). A card of the
# next larger size has at least 17 % more.
LARGEST_SURPLUS = 1.13
# Words in a card's name that make another card of it.
# What a CUDA context was seen to take more under WSL2: 1.05 to 1.54 GiB, in four start-up logs of vLLM.
WINDOWS_CONTEXT = 154 * GIB // 100
VARIANTS = {"ti", "super", "d", "laptop", "mobile", "sff", "pro", "ada", "blackwell", "nvl"}
DECLARED = "declared in the spec"


def check_driver(engine: JsonObject) -> Sides:
    """nvidia-smi answers, and the driver is new enough for the engine's build."""
    minimum = engine["minimum_driver"]
    wanted = f"driver {minimum} or newer for CUDA {engine['cuda']}" if minimum else "a driver that answers"
    try:
        gpus = query_gpus()
    except StackError as error:
        note = "`nvidia-smi` must work as this user; after a boot or an update, look into the kernel's log"
        raise StackError(error.code, Sides(wanted, str(error), note)) from error
    if not gpus:
        raise StackError(EXIT_DRIVER, Sides(wanted, "nvidia-smi sees no GPU", "is the card in its slot and powered?"))
    driver = gpus[0].driver
    found = f"driver {driver}, {len(gpus)} GPUs"
    if minimum and _numbers(driver) < _numbers(minimum):
        raise StackError(EXIT_DRIVER, Sides(wanted, found, f"install a driver of the {minimum} branch or newer"))
    sleepy = ", ".join(str(gpu.number) for gpu in gpus if not gpu.is_persistent)
    note = f"persistence mode is off on GPU {sleepy}: enable nvidia-persistenced, so that starts are quicker"
    return Sides(wanted, found, note if sleepy else "")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def check_devices(node: JsonObject, devices: list[JsonObject]) -> Sides:
    """Every planned GPU is there; after a boot they appear one by one."""
    gpus = query_gpus()
    found = [find_gpu(gpus, node, device["index"]) for device in devices]
    wanted = ", ".join(node["uuids"][device["index"]] if node["uuids"] else str(device["index"]) for device in devices)
    return Sides(f"GPU {wanted}", ", ".join(f"{gpu.number} is {gpu.uuid}" for gpu in found))


def planned_card(node: JsonObject, device: JsonObject) -> JsonObject:
    """What the plan says of a GPU's card: where a node has several models, each has figures of its own."""
    card: JsonObject = node["cards"][device["index"]] if "cards" in node else node
    return card


def check_gpu(node: JsonObject, device: JsonObject) -> Sides:
    """The GPU is the one whose figures the plan holds."""
    gpu, card = find_gpu(query_gpus(), node, device["index"]), planned_card(node, device)
    sides = Sides(
        f"{card['gpu']}, compute capability {card['compute_capability']}, {gib(device['total_bytes'])}",
        f"{gpu.name}, compute capability {gpu.compute_capability}, {gib(gpu.total)} by nvidia-smi",
    )
    if _is_other(gpu, card, device):
        note = "name the GPU that is here in the spec, then lock and compile again"
        if "cards" in node:
            note = "list the node's `gpus` in the order of `nvidia-smi -L`, then lock and compile again"
        raise StackError(EXIT_IDENTITY, sides._replace(note=note))
    if gpu.has_mig:
        note = f"CUDA sees no whole GPU: `nvidia-smi -i {gpu.number} -mig 0`, or name the slices in the spec"
        raise StackError(EXIT_IDENTITY, sides._replace(found=f"{sides.found}, cut into MIG slices", note=note))
    return sides


def _is_other(gpu: Gpu, card: JsonObject, device: JsonObject) -> bool:
    # nvidia-smi counts memory that CUDA never hands out, so a smaller total is certainly another card.
    if gpu.compute_capability != card["compute_capability"] or gpu.total < device["total_bytes"]:
        return True
    if card["product"] and not _is_called(gpu.name, card["product"]):
        return True
    largest: float = LARGEST_SURPLUS * device["total_bytes"]
    return device["total_source"] != DECLARED and gpu.total > largest


def _is_called(name: str, product: str) -> bool:
    """Whether the driver's name has the product's words one after another, and none that make another card of it."""
    words, wanted = _words(name), _words(product)
    starts = range(len(words) - len(wanted) + 1)
    is_there = any(words[start : start + len(wanted)] == wanted for start in starts)
    return is_there and VARIANTS.intersection(words) <= set(wanted)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())


def check_slice(node: JsonObject, device: JsonObject) -> Sides:
    """The slice is there and of the profile whose memory the plan counts; what is free in it nvidia-smi cannot say."""
    uuid, slices = node["uuids"][device["index"]], list_slices()
    wanted = f"a {node['mig']} slice {uuid}"
    if slices.get(uuid) != node["mig"]:
        present = f"{uuid} is {slices[uuid]}" if uuid in slices else f"slices {', '.join(slices) or 'none'}"
        raise StackError(EXIT_IDENTITY, Sides(wanted, present, "`nvidia-smi -L` lists the slices: correct the spec"))
    return Sides(wanted, f"{uuid} is {slices[uuid]}")


def check_slice_number(node: JsonObject, device: JsonObject) -> Sides:
    """The engine takes a slice's number within its card for a card's, and asks that card for name and memory.

    vllm/platforms/cuda.py:device_control_id_to_physical_device_id, 0.33.0. In a container that is given one slice it
    looks nothing up.
    """
    uuid, gpus = node["uuids"][device["index"]], query_gpus()
    own, number = slice_place(uuid)
    sides = Sides(
        f"a card with the number that {uuid} has within its own, and of its kind: the engine asks that one",
        f"{uuid} is slice {number} of GPU {own}, among {len(gpus)} GPUs",
        f"pin slices with numbers below {len(gpus)} (`nvidia-smi -L`), or run the stack in containers",
    )
    by_number = {gpu.number: gpu for gpu in gpus}
    asked, card = by_number.get(number), by_number.get(own)
    if asked is None:
        raise StackError(EXIT_SLICE, sides._replace(found=f"{sides.found}: there is no GPU {number}"))
    if card is not None and asked[2:5] != card[2:5]:  # name, compute capability, memory
        raise StackError(EXIT_SLICE, sides._replace(found=f"{sides.found}: GPU {number} is {asked.name}"))
    return sides._replace(note="")


def check_gpu_memory(node: JsonObject, device: JsonObject, services: list[JsonObject]) -> Sides:
    """As much is free as the chosen servers are expected to take."""
    gpu = find_gpu(query_gpus(), node, device["index"])
    windows = WINDOWS_CONTEXT * len(_served(device, services)) if is_windows_beneath() else 0
    need = needed_bytes(device, services) + windows
    sides = Sides(f"needs {gib(need)} of {gib(device['total_bytes'])}", f"{gib(gpu.free)} of {gib(gpu.total)} are free")
    if gpu.page_cache:
        found = f"{gib(gpu.free)} of {gib(gpu.total)} are available, {gib(gpu.page_cache)} of them as page cache"
        sides = sides._replace(found=found)
    if gpu.free < need:
        raise StackError(EXIT_MEMORY, sides._replace(note=_WINDOWS if windows else _who_holds(gpu)))
    return sides._replace(note=_DROP) if gpu.free - gpu.page_cache < need else sides


_WINDOWS = (
    f"under WSL2 a server takes up to {WINDOWS_CONTEXT / GIB:.2f} GiB more than on Linux itself: give the node that "
    "much `reserve` for each server in the spec, and compile again"
)
# Seen on GB10: its driver fails, or the machine hangs, while the kernel still keeps files that nobody needs.
_DROP = (
    "drop the page cache first, for the GPU's driver may not get it: `sync; echo 3 | sudo tee /proc/sys/vm/drop_caches`"
)


def _who_holds(gpu: Gpu) -> str:
    try:
        holders = holders_of(gpu)
    except StackError as error:
        return f"who holds the rest is unknown: {error}"
    if not holders:
        return "no process is visible on it: look in other containers, and for zombies with `fuser -v /dev/nvidia*`"
    named = "; ".join(map(str, holders))
    pids = " ".join(holder.pid for holder in holders)
    return f"held by {named}: stop its service; an orphan of an old server ends with `sudo kill {pids}`"


def check_main_memory(plan: JsonObject, device: JsonObject, services: list[JsonObject]) -> Sides:
    """A CPU node: main memory, by the kernel's own estimate of what can still be taken."""
    need, planned = needed_bytes(device, services), plan["node"]["memory_bytes"]
    return _main_memory_sides(need, planned, planned)


def check_host_memory(plan: JsonObject, services: list[JsonObject]) -> Sides:
    """A node with GPUs: main memory beside them, where servers keep a part of their models in it."""
    memory = plan["main_memory"]
    # Shares that vLLM takes are of its GPUs.
    need = needed_bytes(memory, [{"name": service["name"]} for service in services])
    # The kernel keeps some of what is built in, so a machine shows a little less than its owner says: what the plan's
    # servers come to has to be there.
    least = needed_bytes(memory, [{"name": server["service"]} for server in memory["servers"]])
    return _main_memory_sides(need, memory["total_bytes"], least + memory["reserve_bytes"])


def _main_memory_sides(need: int, planned: int, least: int) -> Sides:
    """What is free is enough now, and what is there at all is at least so much."""
    total, available, _ = main_memory()
    sides = Sides(f"needs {gib(need)} of {gib(planned)}", f"{gib(available)} of {gib(total)} are available")
    if total < least:
        note = "it has less than the plan: another machine, or another `memory` in the spec"
        raise LastingError(EXIT_MEMORY, sides._replace(note=note))
    if available < need:
        note = "`ps --sort=-rss -eo pid,rss,args | head` shows who holds it"
        raise StackError(EXIT_MEMORY, sides._replace(note=note))
    return sides


def needed_bytes(device: JsonObject, services: list[JsonObject]) -> int:
    """What must be free for these servers: what their rows come to, and at least what vLLM asks for at start.

    Of vLLM's the expected values count, not their high ends: this looks for other tenants and for another card. That
    the high ends fit was proven when the plan was made. A server that does not look itself meets a lack only when it
    has loaded for minutes, or ends when requests come: of those the high ends count, where they were proven.
    """
    utilization = {service["name"]: service.get("gpu_memory_utilization") for service in services}
    need = 0
    for server in _served(device, services):
        share = utilization[server["service"]]
        bound = "high" if share is None and device["slack_bytes"] >= 0 else "expected"
        outside = sum(row["bytes"][bound] for row in server["rows"] if row["kind"] == "outside")
        need += max(server["budget_bytes"][bound], math.ceil(device["total_bytes"] * (share or 0))) + outside
    return need


def _served(device: JsonObject, services: list[JsonObject]) -> list[JsonObject]:
    """The device's servers that are among the chosen services."""
    names = {service["name"] for service in services}
    return [server for server in device["servers"] if server["service"] in names]


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / GIB:.2f} GiB"
