#!/usr/bin/env python3
"""Check that this machine is the one that the plan was proven for, before a server starts.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes, of the first check that fails: 0 all fine, 2 usage, 4 no plan, 10 driver, 11 GPU identity, 12 memory,
13 disk, 14 port, 15 model, 16 vLLM version.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

sys.dont_write_bytecode = True  # this folder must stay as it was committed

from _gpu import EXIT_DRIVER, EXIT_IDENTITY, MIB, find_gpu, list_slices, query_gpus, users_of  # noqa: E402
from _model import check_model, free_bytes, hf_home, missing_bytes  # noqa: E402
from _stack import (  # noqa: E402
    EXIT_SNAPSHOT,
    EXIT_USAGE,
    FAIL,
    Check,
    JsonObject,
    Result,
    Skipped,
    StackError,
    choose_services,
    format_json,
    format_result,
    format_summary,
    load_plan,
    run_check,
    run_program,
)

EXIT_MEMORY, EXIT_DISK, EXIT_PORT, EXIT_VERSION = 12, 13, 14, 16
GIB = 2**30
# Compiled kernels and logs of one server.
CACHE_BYTES = GIB
VERSION_SECONDS = 150
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (the place, not a temporary file)
KINDS = ("driver", "gpu", "memory", "disk", "shm", "port", "model", "version")


def checks(plan: JsonObject, services: list[JsonObject]) -> list[Check]:
    """Everything to ask, cheapest first."""
    node = plan["node"]
    return [
        *_node_checks(plan, services),
        *(Check(each["name"], "disk", partial(check_disk, each), EXIT_DISK) for each in services),
        *(Check(each["name"], "shm", partial(check_shared_memory, each), EXIT_DISK) for each in services),
        *(Check(each["name"], "port", partial(check_port, each), EXIT_PORT, is_transient=True) for each in services),
        *(Check(each["name"], "model", partial(check_model, each["model"]), EXIT_SNAPSHOT) for each in services),
        Check(node["name"], "version", partial(check_version, plan["engine"]["vllm"]), EXIT_VERSION),
    ]


def _node_checks(plan: JsonObject, services: list[JsonObject]) -> list[Check]:
    node = plan["node"]
    names = {service["name"] for service in services}
    devices = [each for each in plan["devices"] if names & {server["service"] for server in each["servers"]}]
    if node["kind"] == "cpu":
        return [
            Check(
                node["name"],
                "memory",
                partial(check_main_memory, plan, device, services),
                EXIT_MEMORY,
                is_transient=True,
            )
            for device in devices
        ]
    if node.get("mig"):
        driver = Check(node["name"], "driver", check_slices_driver, EXIT_DRIVER, is_transient=True)
        return [driver, *(_slice_check(node, device) for device in devices)]
    found = [Check(node["name"], "driver", check_driver, EXIT_DRIVER, is_transient=True)]
    for device in devices:
        subject = f"{node['name']}:{device['index']}"
        found.append(Check(subject, "gpu", partial(check_gpu, node, device), EXIT_IDENTITY))
        found.append(
            Check(subject, "memory", partial(check_gpu_memory, node, device, services), EXIT_MEMORY, is_transient=True)
        )
    return found


def _slice_check(node: JsonObject, device: JsonObject) -> Check:
    subject = f"{node['name']}:{device['index']}"
    return Check(subject, "gpu", partial(check_slice, node, device), EXIT_IDENTITY)


def check_slices_driver() -> str:
    """nvidia-smi answers on a machine whose GPUs are cut into slices."""
    return f"nvidia-smi sees {len(list_slices())} MIG slices"


def check_slice(node: JsonObject, device: JsonObject) -> str:
    """The slice is there and of the profile whose memory the plan counts; what is free in it nvidia-smi cannot say."""
    uuid, slices = node["uuids"][device["index"]], list_slices()
    if slices.get(uuid) != node["mig"]:
        present = (
            f"{uuid} is {slices[uuid]}" if uuid in slices else f"no {uuid} here, but {', '.join(slices) or 'none'}"
        )
        raise StackError(EXIT_IDENTITY, f"plan: a {node['mig']} slice {uuid}; this machine: {present}")
    return f"{uuid} is a {node['mig']} slice"


def check_driver() -> str:
    """nvidia-smi answers."""
    return f"nvidia-smi sees {len(query_gpus())} GPUs"


def check_gpu(node: JsonObject, device: JsonObject) -> str:
    """The GPU is the one whose figures the plan holds."""
    gpu = find_gpu(query_gpus(), node, device["index"])
    wanted = f"{node['gpu']}, compute capability {node['compute_capability']}, {_gib(device['total_bytes'])}"
    present = f"{gpu.name}, compute capability {gpu.compute_capability}, {_gib(gpu.total)} by nvidia-smi"
    # nvidia-smi counts memory that CUDA never hands out, so a smaller total is certainly another card.
    if gpu.compute_capability != node["compute_capability"] or gpu.total < device["total_bytes"]:
        raise StackError(EXIT_IDENTITY, f"plan: {wanted}; this machine: {present}")
    return f"plan: {wanted}; this machine: {present}"


def check_gpu_memory(node: JsonObject, device: JsonObject, services: list[JsonObject]) -> str:
    """As much is free as the chosen servers are expected to take."""
    gpu = find_gpu(query_gpus(), node, device["index"])
    need = needed_bytes(device, services)
    if gpu.free < need:
        raise StackError(EXIT_MEMORY, f"need {_gib(need)}, free {_gib(gpu.free)}; {users_of(gpu)}")
    return f"need {_gib(need)}, free {_gib(gpu.free)}"


def check_main_memory(plan: JsonObject, device: JsonObject, services: list[JsonObject]) -> str:
    """A CPU node: main memory, by the kernel's own estimate of what can still be taken."""
    facts = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii")))
    total, available = int(facts["MemTotal"]) * 1024, int(facts["MemAvailable"]) * 1024
    need = needed_bytes(device, services)
    seen = f"need {_gib(need)}, available {_gib(available)}; plan: {_gib(plan['node']['memory_bytes'])} in all, "
    seen += f"this machine: {_gib(total)}"
    if available < need or total < plan["node"]["memory_bytes"]:
        raise StackError(EXIT_MEMORY, seen)
    return seen


def needed_bytes(device: JsonObject, services: list[JsonObject]) -> int:
    """What must be free for these servers: what their rows come to, and at least what vLLM asks for at start.

    The rows' expected values count, not their high ends: this looks for other tenants and for another card. That the
    high ends fit was proven when the plan was made.
    """
    utilization = {service["name"]: service["gpu_memory_utilization"] for service in services}
    need = 0
    for server in device["servers"]:
        if server["service"] in utilization:
            asked = math.ceil(device["total_bytes"] * utilization[server["service"]])
            outside = sum(row["bytes"]["expected"] for row in server["rows"] if row["kind"] == "outside")
            need += max(server["budget_bytes"]["expected"], asked) + outside
    return need


def check_disk(service: JsonObject) -> str:
    """Room for what is still to download, and a cache that can be written."""
    missing, free = missing_bytes(service["model"]), free_bytes(hf_home())
    if service["model"]["repository"] and missing is not None and missing > free:
        raise StackError(EXIT_DISK, f"{hf_home()}: {_gib(missing)} are still to download, {_gib(free)} free")
    cache = Path(os.environ.get("VLLM_CACHE_ROOT") or Path.home() / ".cache" / "vllm")
    free = free_bytes(cache)
    if free < CACHE_BYTES or not _is_writable(cache):
        raise StackError(EXIT_DISK, f"{cache} needs to be writable with {_gib(CACHE_BYTES)}, it has {_gib(free)} free")
    return f"{cache} is writable, {_gib(free)} free"


def _is_writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def check_shared_memory(service: JsonObject) -> str:
    """Shared memory holds the queues between the workers of one server."""
    workers = len(service["devices"])
    if workers == 1:
        raise Skipped("one worker needs no queues in /dev/shm")
    need, free = (160 + 240 * workers) * MIB, free_bytes(SHARED_MEMORY)
    if free < need:
        raise StackError(EXIT_DISK, f"{SHARED_MEMORY} needs {_gib(need)}, has {_gib(free)} free")
    return f"{SHARED_MEMORY} has {_gib(free)} free"


def check_port(service: JsonObject) -> str:
    """Nobody listens where the server will."""
    host = os.environ.get("STACKC_HOST") or service["host"]
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, service["port"], type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            # As vLLM does: connections that linger after a stop do no harm.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise StackError(EXIT_PORT, f"cannot listen on {host}:{service['port']}: {error}") from error
    return f"{host}:{service['port']} is free"


def check_version(expected: str) -> str:
    """The vLLM that will run is the one that the plan's figures belong to."""
    name = os.environ.get("STACKC_VLLM") or "vllm"
    executable = shutil.which(name)
    if executable is None:
        raise StackError(EXIT_VERSION, f"plan: vLLM {expected}; `{name}` is not there: set STACKC_VLLM")
    found = installed_version(executable) or stated_version(executable)
    # `0.33.0+cpu` is the same release, built for another device.
    if found.partition("+")[0] != expected:
        raise StackError(EXIT_VERSION, f"plan: vLLM {expected}; {executable}: {found}")
    return f"{executable} is vLLM {found}"


def installed_version(executable: str) -> str | None:
    """What the executable's own environment has installed. Asking vLLM itself means to import all of it.

    None if the file is no script that pip wrote, or its interpreter knows no vLLM.
    """
    with Path(executable).open("rb") as script:
        lines = script.read(4096).decode("utf-8", "replace").splitlines()
    # A path that is too long for the first line stands in the second one.
    match = re.match(r"#!(/\S*python[\d.]*)$", lines[0] if lines else "")
    match = match or re.match(r"'''exec' \"?(/[^\"]*python[\d.]*)\"? ", lines[1] if len(lines) > 1 else "")
    if match is None:
        return None
    question = "from importlib.metadata import version; print(version('vllm'))"
    try:
        answer = subprocess.run([match[1], "-c", question], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def stated_version(executable: str) -> str:
    """What `vllm --version` prints."""
    try:
        answer = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(EXIT_VERSION, f"`{executable} --version` does not answer: {error}") from error
    if answer.returncode != 0:
        said = (answer.stderr.strip().splitlines() or ["nothing"])[-1]
        raise StackError(EXIT_VERSION, f"`{executable} --version` failed with {answer.returncode} and said: {said}")
    words = answer.stdout.split()
    return words[-1] if words else "no version"


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


def run_all(plan: JsonObject, services: list[JsonObject], skip: list[str], seconds: float) -> list[Result]:
    """Ask everything; what hangs on a driver that does not answer is skipped."""
    deadline = time.monotonic() + seconds
    results: list[Result] = []
    for check in checks(plan, services):
        reason = "asked by --skip" if check.name in skip else _blocked(check, results)
        asked = check if reason is None else check._replace(run=partial(_skip, reason))
        results.append(run_check(asked, deadline))
    return results


def _blocked(check: Check, results: list[Result]) -> str | None:
    failed = {result.name for result in results if result.status == FAIL}
    if check.name in ("gpu", "memory") and "driver" in failed:
        return "the driver check failed"
    return "the gpu check failed" if check.name == "memory" and "gpu" in failed else None


def _skip(reason: str) -> str:
    raise Skipped(reason)


def main() -> int:
    """Read the command line, check, report."""
    parser = argparse.ArgumentParser(description="Check this machine against the plan before a server starts.")
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all, together")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="for memory and ports to get free")
    parser.add_argument("--skip", action="append", default=[], choices=KINDS, help="leave a check out; may be repeated")
    parser.add_argument("--json", action="store_true", help="report for machines")
    options = parser.parse_args()
    if not math.isfinite(options.wait) or options.wait < 0:
        raise StackError(EXIT_USAGE, "--wait takes a number of seconds")
    plan = load_plan()
    results = run_all(plan, choose_services(plan, options.services), options.skip, options.wait)
    code = next((result.code for result in results if result.status == FAIL), 0)
    if options.json:
        print(format_json(plan["stack"], results, code))
    else:
        print(*map(format_result, results), format_summary(results), sep="\n")
    return code


if __name__ == "__main__":
    run_program(main)
