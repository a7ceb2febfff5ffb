"""preflight's questions about disk, memory, ports, model, secret files and the gateway's program.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from functools import partial
from pathlib import Path
from typing import NamedTuple

from stack import EXIT_ENVIRONMENT, EXIT_SNAPSHOT, Check, JsonObject, Sides, Skipped, StackError, secret_file
from stack.keys import BadKeys, keys_of, read_file
from stack.machine.check_certificate import EXIT_CERTIFICATE, check_certificate
from stack.machine.gpu import gib
from stack.models.model import (
    check_model,
    existing,
    free_bytes,
    hashed_files,
    hf_home,
    missing_bytes,
    models_of,
    wrong_files,
)
from stack.packages import environment_of, installing

EXIT_DISK, EXIT_PORT, EXIT_SECRET = 13, 14, 17
MIB = 2**20
# Of one server; its compiled kernels are a few hundred files.
CACHE_FILES = 2000
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (the place, not a temporary file)
SUPERVISORS = ("systemd", "compose", "quadlet")


class _Need(NamedTuple):
    """What a folder still has to take up."""

    folder: Path
    what: str
    size: int
    files: int


def check_disk(services: list[JsonObject]) -> Sides:
    """Room for what is still to download and for compiled kernels, and a cache that can be written."""
    needs = [*_kernels(services), *_downloads(services)]
    if not needs:
        raise Skipped("nothing is downloaded, and no kernels are compiled")
    sides = Sides(
        ", ".join(f"{gib(need.size)} for {need.what} in {need.folder}" for need in needs),
        ", ".join(dict.fromkeys(_room(need.folder) for need in needs)),
    )
    folders = [*(need.folder for need in needs), *_compilers_caches(services)]
    closed = [folder for folder in folders if not os.access(existing(folder), os.W_OK | os.X_OK)]
    if closed:
        user = os.geteuid()
        note = f"user {user} may not write {closed[0]}: correct its owner"
        raise StackError(EXIT_DISK, sides._replace(note=note))
    short = next(filter(None, (_shortage(need, needs) for need in needs)), None)
    if short:
        raise StackError(EXIT_DISK, sides._replace(note=short))
    return sides


def _kernels(services: list[JsonObject]) -> list[_Need]:
    """Of servers that compile any."""
    sizes = [size for service in services if (size := service["compiled_bytes"])]
    folder = Path(os.environ.get("VLLM_CACHE_ROOT") or Path.home() / ".cache" / "vllm")
    return [_Need(folder, "compiled kernels", sum(sizes), len(sizes) * CACHE_FILES)] if sizes else []


def _compilers_caches(services: list[JsonObject]) -> list[Path]:
    """Where Triton and FlashInfer write when they are loaded (triton/knobs.py, 3.8; flashinfer/jit/env.py, 0.7.2)."""
    tools = {need["tool"] for service in services for need in service["host_needs"]}
    triton = Path(os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton")
    flashinfer = Path(os.environ.get("FLASHINFER_WORKSPACE_BASE") or Path.home()) / ".cache" / "flashinfer"
    return [*([triton] if "c" in tools else []), *([flashinfer] if "flashinfer" in tools else [])]


def _downloads(services: list[JsonObject]) -> list[_Need]:
    keys = ("repository", "commit", "file")
    loaded = [model for each in services for model in models_of(each)]
    models = {tuple(model[key] for key in keys): model for model in loaded}
    sizes = [missing_bytes(model) or 0 for (name, *_), model in models.items() if name]
    files = sum(len(model["files"]) for model in models.values())
    return [_Need(hf_home(), "weights to download", sum(sizes), files)] if sum(sizes) else []


def _shortage(need: _Need, needs: list[_Need]) -> str | None:
    """Folders on one file system share its room."""
    device = existing(need.folder).stat().st_dev
    together = [each for each in needs if existing(each.folder).stat().st_dev == device]
    size, files = sum(each.size for each in together), sum(each.files for each in together)
    if size > free_bytes(need.folder):
        return f"{size - free_bytes(need.folder)} bytes too little: remove old models, `hf cache prune` lists them"
    inodes = _inodes(need.folder)
    if inodes is not None and files > inodes:
        return f"too few inodes, {files} are needed: remove small files, such as old caches of kernels"
    return None


def _room(folder: Path) -> str:
    inodes = _inodes(folder)
    named = "" if inodes is None else f" and {inodes} inodes"
    return f"{existing(folder)} has {gib(free_bytes(folder))}{named} free"


def _inodes(folder: Path) -> int | None:
    """Free ones; None on a file system that makes them as it goes."""
    facts = os.statvfs(existing(folder))
    return facts.f_favail if facts.f_files else None


def check_shared_memory(services: list[JsonObject]) -> Sides:
    """Shared memory holds the queues between the workers of a server."""
    # A part of a server that spans machines has queues with one worker too.
    workers = [len(each["devices"]) for each in services if len(each["devices"]) > 1 or each.get("group")]
    if not workers:
        raise Skipped("no server has several workers, which talk through /dev/shm")
    # vllm/distributed/device_communicators/shm_broadcast.py, 0.33.0
    need, free = sum(160 + 240 * count for count in workers) * MIB, free_bytes(SHARED_MEMORY)
    sides = Sides(f"{gib(need)} in {SHARED_MEMORY}", f"{gib(free)} are free")
    if free < need:
        note = f"`mount -o remount,size=…` it larger, or remove what old servers left: `ls -la {SHARED_MEMORY}`"
        raise StackError(EXIT_DISK, sides._replace(note=note))
    return sides


def check_port(host: str, port: int) -> Sides:
    """Nobody listens where the server will."""
    wanted = f"{host}:{port} is free"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            # As vLLM does: connections that linger after a stop do no harm.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        note = f"`ss --listening --tcp --processes 'sport = :{port}'` shows who has it"
        raise StackError(EXIT_PORT, Sides(wanted, f"cannot listen there: {error}", note)) from error
    return Sides(wanted, "free")


def check_address(member: JsonObject) -> Sides:
    """The address by which the other machines of a group find this one is its own, on the card that they talk over."""
    address, interface = member["address"], member["interface"]
    wanted = f"{member['node']} has {address} on {interface}"
    if not Path("/sys/class/net", interface).exists():
        there = ", ".join(sorted(each.name for each in Path("/sys/class/net").iterdir()))
        raise StackError(EXIT_ENVIRONMENT, Sides(wanted, f"no network card {interface}: there are {there}"))
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        note = "`ip address` shows those of this machine"
        raise StackError(EXIT_ENVIRONMENT, Sides(wanted, f"{address} is not this machine's: {error}", note)) from error
    return Sides(wanted, "its own")


def check_snapshot(model: JsonObject, *, reads_all: bool) -> Sides:
    """The model is whole, at its commit; with `reads_all` every file is hashed."""
    wanted = _wanted(model)
    try:
        folder = check_model(model)
    except StackError as error:
        raise StackError(error.code, Sides(wanted, *_split(str(error)))) from error
    if not reads_all:
        return Sides(wanted, f"complete in {folder}")
    if not hashed_files(model):
        return Sides(wanted, f"complete in {folder}", "the lock knows no hashes to compare with")
    wrong = wrong_files(folder, model, known=None)
    if wrong:
        found = "; ".join(map(str, wrong))
        raise StackError(EXIT_SNAPSHOT, Sides(wanted, found, "run prefetch --verify, which fetches it again"))
    return Sides(wanted, f"complete in {folder}, {len(hashed_files(model))} hashes are right")


def _wanted(model: JsonObject) -> str:
    name = model["folder"] or f"{model['repository']} at {model['commit'] or 'main'}"
    name += f": {model['file']}" if model["file"] else ""
    size = model["weights_bytes"]
    return name if size is None else f"{name}, {size} bytes of weights"


def _split(problem: str) -> tuple[str, str]:
    found, _, note = problem.rpartition(": ")
    return (found, note) if found else (problem, "")


def check_secret(plan: JsonObject, key: str, code: int, *, is_optional: bool = False) -> Sides:
    """A secret's file: readable, closed to everybody else, and keys as all programs read them. None is ever shown."""
    path = secret_file(plan, key)
    if path is None:
        raise Skipped(f"the plan has no {key.replace('_', ' ')}")
    wanted = f"{path}, closed to other users"
    try:
        file = read_file(path)
        if file.mode & stat.S_IROTH:
            found = f"mode {stat.S_IMODE(file.mode):04o}: everybody may read it"
            raise StackError(code, Sides(wanted, found, "chmod o= it, then change the key"))
        found_keys = keys_of(file, is_list=key == "client_keys")
    except PermissionError as error:
        return _closed(plan, wanted, code, error)
    except BadKeys as problem:
        if is_optional and not path.exists():
            raise Skipped(f"{path}: {problem}; only the download needs it") from problem
        raise StackError(code, Sides(wanted, str(problem), "write the key into it, as the README says")) from problem
    if len(found_keys) > 1 and plan["gateway"]["kind"] == "litellm":
        raise StackError(code, Sides(wanted, f"{len(found_keys)} keys", "LiteLLM takes one key without a database"))
    return Sides(wanted, f"mode {stat.S_IMODE(file.mode):04o}")


def _closed(plan: JsonObject, wanted: str, code: int, error: OSError) -> Sides:
    if any(target in plan["targets"] for target in SUPERVISORS):
        raise Skipped("only root may look: systemd, or the container engine, reads it as root for the server")
    note = f"user {os.geteuid()} must be able to read it: correct its owner"
    raise StackError(code, Sides(wanted, str(error), note)) from error


EXIT_KEYS, EXIT_GATEWAY = 19, 20
GATEWAY = "gateway"
# Where the packages of Debian, nginx.org and Red Hat put it.
NJS_MODULES = ("/usr/lib/nginx/modules/ngx_http_js_module.so", "/usr/lib64/nginx/modules/ngx_http_js_module.so")
# LiteLLM imports much before it can say its version.
PROGRAM_SECONDS = 60


def gateway_checks(plan: JsonObject) -> list[Check]:
    """Everything that the gateway needs, cheapest first."""
    gateway = plan["gateway"]
    port = partial(check_port, gateway["host"], gateway["port"])
    found = [
        Check(GATEWAY, "port", port, EXIT_PORT, is_transient=True),
        Check(GATEWAY, "secrets", partial(check_secret, plan, "client_keys", EXIT_KEYS), EXIT_KEYS),
    ]
    tls = gateway.get("tls")
    if tls is not None:
        if tls["http_port"] is not None:
            other = partial(check_port, gateway["host"], tls["http_port"])
            found.insert(1, Check(GATEWAY, "port", other, EXIT_PORT, is_transient=True))
        pair = partial(check_certificate, tls, is_supervised=any(each in plan["targets"] for each in SUPERVISORS))
        found.append(Check(GATEWAY, "certificate", pair, EXIT_CERTIFICATE))
    if gateway["kind"] == "nginx":
        found.append(Check(GATEWAY, "njs", check_njs, EXIT_GATEWAY))
        question = partial(check_program, plan["paths"]["nginx"], "-v", "install nginx, or set `paths.nginx`")
    else:
        question = partial(check_litellm, plan["paths"]["litellm"], gateway["version"])
    return [*found, Check(GATEWAY, "program", question, EXIT_GATEWAY)]


def check_program(path: str, option: str, remedy: str) -> Sides:
    """The gateway's program is there and says its version."""
    return Sides(f"{path} runs", _said(path, option, remedy)[-1])


def check_litellm(path: str, version: str) -> Sides:
    """LiteLLM is the release that its configuration was made for and tested with."""
    remedy = f"{installing('litellm', version, environment_of(path))}; or set `paths.litellm`"
    lines = _said(path, "--version", remedy)
    found = next((line for line in lines if line.startswith("LiteLLM: Current Version")), lines[-1])
    if version not in found.split():
        raise StackError(EXIT_GATEWAY, Sides(f"LiteLLM {version}", f"{path} says: {found}", remedy))
    return Sides(f"LiteLLM {version}", found)


def _said(path: str, option: str, remedy: str) -> list[str]:
    """The lines that a program prints, at least one."""
    wanted, executable = f"{path} runs", shutil.which(path)
    if executable is None:
        raise StackError(EXIT_GATEWAY, Sides(wanted, "it is not there", remedy))
    # LiteLLM would fetch a list of prices from the network before it answers.
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    try:
        answer = subprocess.run(
            [executable, option],
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(EXIT_GATEWAY, Sides(wanted, f"it does not answer: {error}", remedy)) from error
    # nginx says it on stderr.
    lines = (answer.stdout + answer.stderr).strip().splitlines() or ["nothing"]
    if answer.returncode != 0:
        raise StackError(EXIT_GATEWAY, Sides(wanted, f"`{path} {option}` failed: {lines[-1]}", remedy))
    return lines


def check_njs() -> Sides:
    """The module that compares clients' keys and chooses revisions."""
    found = next((path for path in NJS_MODULES if Path(path).is_file()), None)
    wanted = "nginx's njs module"
    if found is None:
        note = "install libnginx-mod-http-js (Debian, Ubuntu) or nginx-module-njs (nginx.org)"
        raise StackError(EXIT_GATEWAY, Sides(wanted, f"not among {', '.join(NJS_MODULES)}", note))
    return Sides(wanted, found)
