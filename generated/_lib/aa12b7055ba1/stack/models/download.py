"""A model into the cache: from the Hub, by the `hf` that came with vLLM or without it, or from a folder.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

from stack import EXIT_ENVIRONMENT, EXIT_SNAPSHOT, JsonObject, StackError, secret_file
from stack.models.direct import EXIT_DOWNLOAD, commit_of_main, fetch_files
from stack.models.model import (
    WEIGHTS,
    Wrong,
    cache_name,
    commit_in,
    free_bytes,
    git_hash_of,
    hf_home,
    inside,
    missing_bytes,
    repository_folder,
    sha256_of,
    write_text,
)

EXIT_DISK = 13
GIB = 2**30
# Room for the small files that come along with the weights.
SPARE_BYTES = GIB // 4
PROGRESS_SECONDS = 30
# `hf` gives up on a silent connection far sooner, so nobody writes to such a file any more.
STALE_SECONDS = 3600
TAIL = 4096
# Beside the weights: configurations, tokenizers, chat templates.
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.model.v*", "*.tiktoken", "*.jinja", "*.spm", "*.bpe")
# Code comes along only where the policy lets the server run it.
CODE = "*.py"
# Pickles that no server loads: state of a training run, and whatever else.
PICKLES = ("*.pkl", "*.pickle", "*.ckpt", "training_args.bin", "optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*")
# Mistral's own format, for which vLLM would leave the files that the plan has proved.
OWN_FORMAT = ("consolidated*", "*/consolidated*")
# The same weights once more, in formats that vLLM does not read when there is safetensors.
SECOND_COPIES = (
    "original/*",
    *OWN_FORMAT,
    "*.bin",
    "*.pt",
    "*.pth",
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx",
    "onnx/*",
)


def selection(model: JsonObject) -> list[str]:
    """Options of `hf` for exactly what the server reads, as far as the plan knows it."""
    if model["files"]:
        # What `hf` takes for a pattern must stay a name.
        names = [re.sub(r"([*?\[])", r"[\1]", file["path"]) for file in model["files"]]
        small = (*SMALL_FILES, CODE) if model["runs_code"] else SMALL_FILES
        if model["file"]:  # in which everything is
            small = ()
        return [word for pattern in (*names, *small) for word in ("--include", pattern)]
    # Where the plan has seen no safetensors headers, any file may be the one that vLLM loads.
    return whole(model, OWN_FORMAT if "tensors" in model["unconfirmed"] else SECOND_COPIES)


def whole(model: JsonObject, less: tuple[str, ...] = OWN_FORMAT) -> list[str]:
    """Options of `hf` for all that a server may read."""
    patterns = (*less, *PICKLES) if model["runs_code"] else (*less, *PICKLES, CODE)
    return [word for pattern in patterns for word in ("--exclude", pattern)]


def check_endpoint(plan: JsonObject) -> None:
    """Raise if `hf` would send a token over plain http to another machine."""
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT", ""))
    if endpoint.scheme.lower() != "http" or _is_here(endpoint.hostname or ""):
        return
    saved = Path(os.environ.get("HF_TOKEN_PATH") or hf_home() / "token")
    if os.environ.get("HF_TOKEN") or secret_file(plan, "hf_token") is not None or saved.exists():
        raise StackError(
            EXIT_ENVIRONMENT,
            f"HF_ENDPOINT is http://{endpoint.hostname}: everybody on the way could read the token. Use an https:// "
            "address, or leave out HF_TOKEN and `secrets.hf_token`",
        )


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_disk(model: JsonObject) -> None:
    """Raise if what is missing does not fit."""
    missing, free = missing_bytes(model), free_bytes(hf_home())
    if missing is not None and missing + SPARE_BYTES > free:
        raise StackError(EXIT_DISK, disk_message(model, missing, free))


def disk_message(model: JsonObject, missing: int | None, free: int) -> str:
    """What is missing, what is free, and what to do."""
    need = "an unknown number of bytes" if missing is None else f"{missing} bytes ({missing / GIB:.2f} GiB)"
    return (
        f"{model['repository']} still needs {need}, {hf_home()} has {free} bytes ({free / GIB:.2f} GiB) free: make "
        "room (`hf cache rm` and `hf cache prune` remove old models) and run prefetch again; complete files stay"
    )


def download(plan: JsonObject, model: JsonObject, revision: str, words: list[str], lock: int) -> None:
    """Run `hf` until it ends. It keeps the cache's lock even if this program is killed."""
    check_endpoint(plan)
    remove_stale(model)
    command = [hf_executable() or "hf", "download", model["repository"], *words, "--revision", revision, "--quiet"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=_environment(plan), stdout=subprocess.DEVNULL, stderr=log, pass_fds=(lock,)
        )
        try:
            code = _wait(process, model)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        log.seek(max(0, log.tell() - TAIL))
        tail = log.read().decode("utf-8", "replace")
    if code != 0:
        print(tail.rstrip(), file=sys.stderr)
        raise _failure(plan, model, revision, tail)


def _wait(process: subprocess.Popen[bytes], model: JsonObject) -> int:
    while True:
        try:
            return process.wait(PROGRESS_SECONDS)
        except subprocess.TimeoutExpired:
            blobs = repository_folder(model) / "blobs"
            present = sum(path.stat().st_size for path in blobs.glob("*")) if blobs.is_dir() else 0
            total = f" of {model['weights_bytes'] / GIB:.2f}" if model["weights_bytes"] else ""
            print(f"{model['repository']}: {present / GIB:.2f}{total} GiB are here", file=sys.stderr, flush=True)


def _failure(plan: JsonObject, model: JsonObject, revision: str, tail: str) -> StackError:
    """What the words of `hf` mean for whoever runs the stack."""
    name, missing, free = model["repository"], missing_bytes(model), free_bytes(hf_home())
    if "No space left on device" in tail or "Not enough free disk space" in tail or (missing or 0) > free:
        return StackError(EXIT_DISK, disk_message(model, missing, free))
    if re.search(r"revision ?not ?found|invalid rev id", tail, re.IGNORECASE):
        return StackError(
            EXIT_SNAPSHOT, f"{name} has no revision {revision} on the Hub any more: run `stackc lock` and compile again"
        )
    if re.search(r"gated|restricted|access denied|repository ?not ?found|model '.*' not found", tail, re.IGNORECASE):
        token = secret_file(plan, "hf_token")
        where = f"{token} is the token's file" if token else "the stack has no `secrets.hf_token`"
        return StackError(
            EXIT_DOWNLOAD,
            f"the Hub does not give out {name}: it is gated, private or gone. Accept its licence there, and use a "
            f"token that may read it ({where})",
        )
    return StackError(EXIT_DOWNLOAD, f"hf could not download {name} at {revision}: run prefetch again, it goes on")


def _environment(plan: JsonObject) -> dict[str, str]:
    """The caller's, into the folder that the launch scripts read, and with the token's file."""
    environment = {"HF_HUB_DISABLE_TELEMETRY": "1", **os.environ}
    environment.update(HF_HOME=str(hf_home()), HF_HUB_CACHE=str(hf_home() / "hub"))
    token = secret_file(plan, "hf_token")
    if token is not None and os.access(token, os.R_OK):
        environment["HF_TOKEN_PATH"] = str(token)
    return environment


def hf_executable() -> str | None:
    """The `hf` that belongs to vLLM, else the one on PATH."""
    vllm = shutil.which(os.environ.get("STACKC_VLLM") or "vllm")
    beside = str(Path(vllm).resolve().parent / "hf") if vllm else ""
    return shutil.which(beside) or shutil.which("hf")


def needs_no_hf(model: JsonObject) -> bool:
    """Whether it can be fetched without `hf`: the plan names all of its files."""
    return bool(model["file"])


def check_hf(model: JsonObject) -> None:
    """Raise if nothing here can download it."""
    if hf_executable() is None and not needs_no_hf(model):
        raise StackError(EXIT_ENVIRONMENT, "no `hf` beside vLLM or on PATH: set STACKC_VLLM to the vllm executable")


def download_files(plan: JsonObject, model: JsonObject, revision: str, lock: int) -> None:
    """The chosen files at a full commit, by `hf` where it is there."""
    if hf_executable() is not None or not needs_no_hf(model):
        download(plan, model, revision, selection(model), lock)
        return
    check_endpoint(plan)
    fetch_files(plan, model, revision)


def find_main(plan: JsonObject, model: JsonObject, lock: int) -> None:
    """Learn what `main` is, before gigabytes of the wrong model come: `hf` records it with one small file."""
    if hf_executable() is not None or not needs_no_hf(model):
        # A repository of GGUF files need not have a configuration; what Git keeps of large files each has.
        download(plan, model, "main", [".gitattributes" if model["file"] else "config.json"], lock)
        return
    check_endpoint(plan)
    reference = inside(model, repository_folder(model) / "refs" / "main")
    reference.parent.mkdir(parents=True, exist_ok=True)
    write_text(reference, commit_of_main(plan, model))


def remove_stale(model: JsonObject) -> None:
    """Halves of files that a killed `hf` left behind; it never takes them up again."""
    for path in inside(model, repository_folder(model) / "blobs" / "*").parent.glob("*.incomplete"):
        if time.time() - path.lstat().st_mtime > STALE_SECONDS:
            path.unlink()


def copy_model(source: Path, model: JsonObject) -> None:
    """Bring every file that the server reads into the cache, each hashed before it counts."""
    snapshot, commit = _find(source, model)
    repository = repository_folder(model)
    hashes = {file["path"]: file["sha256"] for file in model["files"]}
    for name in _names(snapshot, model):
        try:
            _place(snapshot / name, model, Path("snapshots", commit, name), hashes.get(name))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise StackError(EXIT_SNAPSHOT, f"cannot copy {snapshot / name}: {error}") from error
            message = disk_message(model, missing_bytes(model), free_bytes(hf_home()))
            raise StackError(EXIT_DISK, message) from error
    if not model["pinned"]:
        reference = inside(model, repository / "refs" / "main")
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_text(reference, commit)


def _find(source: Path, model: JsonObject) -> tuple[Path, str]:
    """The folder of the snapshot, and the commit that it is."""
    for cache in (source / "hub", source):
        repository = cache / cache_name(model)
        if repository.is_dir():
            commit = commit_in(repository, model)
            snapshot = repository / "snapshots" / commit
            if snapshot.is_dir():
                return snapshot, commit
            raise StackError(EXIT_SNAPSHOT, f"{repository} has no snapshot of the planned commit {commit}")
    marks = (model["file"],) if model["file"] else ("config.json", "params.json")
    if not any((source / mark).exists() for mark in marks):
        raise StackError(
            EXIT_SNAPSHOT,
            f"{source} holds neither {cache_name(model)} nor a model: give a Hugging Face folder (HF_HOME), its `hub`, "
            "or the folder of one snapshot",
        )
    return source, _commit_of(source, model)


def _commit_of(snapshot: Path, model: JsonObject) -> str:
    if model["pinned"]:
        return str(model["commit"])
    name = snapshot.resolve().name
    if re.fullmatch("[0-9a-f]{40}", name) and name.startswith(model["commit"] or ""):
        return name
    wanted = f"{model['commit']}…" if model["commit"] else "the full commit"
    raise StackError(
        EXIT_SNAPSHOT, f"the plan does not pin {model['repository']}, so the folder's name must be {wanted}: {snapshot}"
    )


def _names(snapshot: Path, model: JsonObject) -> list[str]:
    """Paths below the snapshot of what the server reads, weights last, so that what is missing shows at once."""
    weights = [file["path"] for file in model["files"]]
    absent = [name for name in weights if not (snapshot / name).is_file()]
    if absent:
        raise StackError(EXIT_SNAPSHOT, f"{snapshot} lacks {len(absent)} weight files, such as {absent[0]}")
    if model["file"]:
        return weights
    present = sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())
    if not weights:
        weights = [name for name in present if "/" not in name and any(fnmatch(name, each) for each in WEIGHTS)]
    small = [name for name in present if name not in weights and any(fnmatch(name, each) for each in SMALL_FILES)]
    return small + weights


def _place(source: Path, model: JsonObject, link: Path, sha256: str | None) -> None:
    """One file: its content under `blobs`, as `hf` would name it, and a link in the snapshot."""
    found = sha256_of(source) if sha256 is not None else git_hash_of(source)
    if sha256 is not None and found != sha256:
        raise StackError(EXIT_SNAPSHOT, f"not copied: {Wrong(source, sha256, found)}")
    repository = repository_folder(model)
    blob, place = inside(model, repository / "blobs" / found), inside(model, repository / link)
    blob.parent.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not blob.exists() or blob.stat().st_size != source.stat().st_size:
        _link_or_copy(source.resolve(), blob, sha256)
    if place.is_symlink() or place.exists():
        place.unlink()
    place.symlink_to(os.path.relpath(blob, place.parent))


def _link(source: Path, fresh: Path) -> None:
    # Who owns a file can change it under either name.
    if source.stat().st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "of another user", str(source))
    os.link(source, fresh)


def _link_or_copy(source: Path, blob: Path, sha256: str | None) -> None:
    fresh = blob.with_name(f"{blob.name}.stackc.incomplete")
    fresh.unlink(missing_ok=True)
    try:
        try:
            _link(source, fresh)
        except OSError:  # another file system, or a file of another user: a copy does as well
            shutil.copyfile(source, fresh)
            if sha256 is not None and sha256_of(fresh) != sha256:
                raise StackError(EXIT_SNAPSHOT, f"{source} was damaged while it was copied: try again") from None
        os.replace(fresh, blob)
    finally:
        fresh.unlink(missing_ok=True)
