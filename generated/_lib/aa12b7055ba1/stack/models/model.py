"""Where a model lies on this machine, and whether all of it is there and is what was published.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from stack import EXIT_SNAPSHOT, JsonObject, StackError

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")


def hf_home() -> Path:
    """The Hugging Face folder, as the launch scripts find it."""
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")


def models_of(service: JsonObject) -> list[JsonObject]:
    """All that a server loads: its model, then its adapters, then the model that guesses tokens for it."""
    adapters = ({**adapter["model"], "is_adapter": True} for adapter in service.get("adapters", ()))
    draft = (service.get("draft") or {}).get("model")
    return [service["model"], *adapters, *([draft] if draft else [])]


def repository_folder(model: JsonObject) -> Path:
    """The cache folder of a Hub repository."""
    return hf_home() / "hub" / cache_name(model)


def cache_name(model: JsonObject) -> str:
    """What a Hugging Face cache calls the folder of a repository."""
    return f"models--{model['repository'].replace('/', '--')}"


def check_names(model: JsonObject) -> None:
    """Raise if a name of the plan is more than the name of one thing below the cache: somebody may have edited it."""
    repository, commit = model.get("repository"), model.get("commit")
    if repository is not None and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", repository, re.ASCII):
        raise StackError(EXIT_SNAPSHOT, f"{repository!r} is no name of a repository: compile again")
    if commit is not None and not re.fullmatch(r"[0-9a-f]{1,40}", commit):
        raise StackError(EXIT_SNAPSHOT, f"{commit!r} is no commit: compile again")
    for path in (file["path"] for file in model["files"]):
        if path.startswith("-") or not path.isprintable() or "\\" in path or {"", ".", ".."} & set(path.split("/")):
            raise StackError(EXIT_SNAPSHOT, f"{path!r} is no plain path in a repository: lock and compile again")


def inside(model: JsonObject, path: Path) -> Path:
    """A path that is to be written or removed; raise if a link on the way leads out of the repository's folder.

    The cache as a whole may be a link to a larger disk.
    """
    repository = repository_folder(model)
    root = repository.parent.resolve() / repository.name
    place = path.parent
    while not os.path.lexists(place):
        place = place.parent
    if os.path.lexists(repository) and not place.resolve().is_relative_to(root):
        raise StackError(EXIT_SNAPSHOT, f"{path} leads to {place.resolve()}, out of the cache: remove the link")
    return path


def write_text(path: Path, text: str) -> None:
    """Replace a small file; what has its name already may be a link to anywhere, and is not followed."""
    fresh = path.with_name(f"{path.name}.stackc.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(fresh, path)


def model_folder(model: JsonObject) -> Path:
    """The folder that the server reads; it need not exist yet."""
    folder: str | None = model["folder"]
    if folder:
        return Path(folder)
    repository = repository_folder(model)
    return repository / "snapshots" / commit_in(repository, model)


def commit_in(repository: Path, model: JsonObject) -> str:
    """The full commit of the model in a cache's folder of its repository."""
    if model["pinned"]:
        return str(model["commit"])
    reference = repository / "refs" / "main"
    try:
        commit = reference.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StackError(EXIT_SNAPSHOT, f"{reference} does not exist: run prefetch") from error
    if re.fullmatch("[0-9a-f]{40}", commit) is None:
        raise StackError(EXIT_SNAPSHOT, f"{reference} does not hold a commit: remove it and run prefetch")
    if model["commit"] and not commit.startswith(model["commit"]):
        raise StackError(
            EXIT_SNAPSHOT,
            f"the cache holds {commit}, the plan is for {model['commit']}: main has moved: lock and compile again",
        )
    return commit


def unfinished(snapshot: Path) -> Path:
    """The mark of a download that has not come to its end: what it lacks beside weights, no list would tell."""
    return snapshot.parent.parent / f"stackc-unfinished-{snapshot.name}"


def check_model(model: JsonObject) -> Path:
    """The model's folder, if all of it is there; else raise with what is missing."""
    check_names(model)
    folder = model_folder(model)
    problem = _problem(folder, model)
    if problem:
        remedy = "copy the model there again" if model["folder"] else "run prefetch"
        raise StackError(EXIT_SNAPSHOT, f"{problem}: {remedy}")
    return folder


def missing_bytes(model: JsonObject) -> int | None:
    """What a download still has to fetch, or None where the plan does not know the size."""
    if model["weights_bytes"] is None:
        return None
    try:
        folder = model_folder(model)
    except StackError:
        return int(model["weights_bytes"])
    if model["files"]:
        sizes: list[int] = [file["size"] for file in model["files"] if _size_of(folder / file["path"]) != file["size"]]
        return sum(sizes)
    return max(0, int(model["weights_bytes"]) - _size(weight_files(folder)))


def free_bytes(folder: Path) -> int:
    """Free space where the folder is or will be."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Files of the folder that hold weights, and are really there."""
    found = {path for pattern in WEIGHTS for path in folder.glob(pattern)}
    return sorted(path for path in found if path.exists())


def _problem(folder: Path, model: JsonObject) -> str | None:
    if not folder.is_dir():
        return f"{folder} does not exist"
    if model["file"]:
        # It may lie among others, of which the server sees none.
        return _listed_problem(folder, model["files"]) or _closed_problem(folder, model["files"])
    dangling = sorted(path.name for path in folder.rglob("*") if path.is_symlink() and not path.exists())
    if dangling:
        return f"{folder} has links to files that are gone: {', '.join(dangling[:3])}"
    if not model["folder"] and unfinished(folder).exists():
        return f"{folder}: its download was interrupted"
    # A download by another user is there, and still of no use to the server.
    closed = sorted(path.name for path in folder.rglob("*") if not os.access(path, os.R_OK))
    if closed:
        return f"{folder} has files that user {os.geteuid()} may not read: {', '.join(closed[:3])}"
    names = ("adapter_config.json",) if model.get("is_adapter") else ("config.json", "params.json")
    if not any((folder / name).exists() for name in names):
        return f"{folder} has no {names[0]}"
    if model["files"]:
        return _listed_problem(folder, model["files"])
    return _weights_problem(folder, model["weights_bytes"])


def _closed_problem(folder: Path, files: list[JsonObject]) -> str | None:
    closed = [file["path"] for file in files if not os.access(folder / file["path"], os.R_OK)]
    return f"{folder} has files that user {os.geteuid()} may not read: {', '.join(closed[:3])}" if closed else None


def _listed_problem(folder: Path, files: list[JsonObject]) -> str | None:
    """The lock lists the files: each must be there with its very size."""
    sizes = {file["path"]: _size_of(folder / file["path"]) for file in files}
    absent = [path for path, size in sizes.items() if size is None]
    if absent:
        return f"{folder} lacks {len(absent)} of {len(files)} weight files, such as {absent[0]}"
    for file in files:
        if file["size"] is not None and sizes[file["path"]] != file["size"]:
            return f"{folder / file['path']} has {sizes[file['path']]} bytes, the plan {file['size']}"
    return None


def _weights_problem(folder: Path, weights_bytes: int | None) -> str | None:
    files = weight_files(folder)
    if not files:
        return f"{folder} has no weights"
    absent = sorted(_shards(folder) - {path.name for path in files})
    if absent:
        return f"{folder} lacks {len(absent)} weight files, such as {absent[0]}"
    if weights_bytes is not None and _size(files) < weights_bytes:
        return f"{folder} has {_size(files)} bytes of weights, the plan {weights_bytes}"
    return None


def _shards(folder: Path) -> set[str]:
    """Names that the safetensors index promises."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return set()
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise StackError(EXIT_SNAPSHOT, f"{index} is damaged: {error}") from error


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


CHUNK = 8 * 2**20
MEMORY = "stackc-verified.json"


class Wrong(NamedTuple):
    """A file that is not the locked one. Both are SHA-256, in hex."""

    path: Path
    planned: str
    found: str

    def __str__(self) -> str:
        """Both sides."""
        return f"{self.path}: SHA-256 of the plan {self.planned}, of this file {self.found}"


class Verified:
    """Files whose hash was found right, by path, size, time of change and inode: reading 100 GB takes minutes."""

    def __init__(self) -> None:
        self._path = hf_home() / MEMORY
        try:
            loaded = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            loaded = {}
        self._known: dict[str, list[object]] = loaded if isinstance(loaded, dict) else {}

    def holds(self, path: Path, sha256: str) -> bool:
        """Whether this very file was hashed before, with this result."""
        return self._known.get(str(path.resolve())) == [*_identity(path), sha256]

    def add(self, path: Path, sha256: str) -> None:
        """Remember a file; a crash in the middle leaves the memory as it was."""
        self._known = {name: entry for name, entry in self._known.items() if os.path.exists(name)}
        self._known[str(path.resolve())] = [*_identity(path), sha256]
        write_text(self._path, json.dumps(self._known, indent=1, sort_keys=True))


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def hashed_files(model: JsonObject) -> list[JsonObject]:
    """The model's files whose hash the lock knows."""
    return [file for file in model["files"] if file["sha256"] is not None]


def wrong_files(folder: Path, model: JsonObject, known: Verified | None) -> list[Wrong]:
    """Files with another hash than the locked one. What `known` remembers is not read again; None reads everything."""
    wrong = []
    for file in hashed_files(model):
        path = folder / file["path"]
        if known is not None and known.holds(path, file["sha256"]):
            continue
        found = sha256_of(path)
        if found != file["sha256"]:
            wrong.append(Wrong(path, file["sha256"], found))
    return wrong


def sha256_of(path: Path) -> str:
    """The hash of a file of any size."""
    return _digest(path, hashlib.sha256())


def git_hash_of(path: Path) -> str:
    """The name that git, and with it the Hub, gives to the content of a small file."""
    start = f"blob {path.stat().st_size}\0".encode()
    return _digest(path, hashlib.sha1(start, usedforsecurity=False))


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
