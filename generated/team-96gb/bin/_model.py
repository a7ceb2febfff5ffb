"""Where a model lies on this machine, and whether all of it is there.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from _stack import EXIT_SNAPSHOT, JsonObject, StackError

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")


def hf_home() -> Path:
    """The Hugging Face folder, as the launch scripts find it."""
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")


def repository_folder(model: JsonObject) -> Path:
    """The cache folder of a Hub repository."""
    name: str = model["repository"].replace("/", "--")
    return hf_home() / "hub" / f"models--{name}"


def model_folder(model: JsonObject) -> Path:
    """The folder that the server reads; it need not exist yet."""
    folder: str | None = model["folder"]
    return Path(folder) if folder else repository_folder(model) / "snapshots" / _commit(model)


def _commit(model: JsonObject) -> str:
    if model["pinned"]:
        return str(model["commit"])
    reference = repository_folder(model) / "refs" / "main"
    try:
        commit = reference.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StackError(EXIT_SNAPSHOT, f"{reference} does not exist: run prefetch") from error
    if re.fullmatch("[0-9a-f]{40}", commit) is None:
        raise StackError(EXIT_SNAPSHOT, f"{reference} does not hold a commit")
    if model["commit"] and not commit.startswith(model["commit"]):
        raise StackError(EXIT_SNAPSHOT, f"the cache holds {commit}, the plan is for {model['commit']}: main has moved")
    return commit


def check_model(model: JsonObject) -> str:
    """Say what is there, or raise with what is missing."""
    folder = model_folder(model)
    problem = _problem(folder, model["weights_bytes"])
    if problem:
        raise StackError(EXIT_SNAPSHOT, problem)
    return str(folder)


def missing_bytes(model: JsonObject) -> int | None:
    """What a download still has to fetch, or None where the plan does not know the size."""
    if model["weights_bytes"] is None:
        return None
    try:
        present = _size(weight_files(model_folder(model)))
    except StackError:
        present = 0
    return max(0, int(model["weights_bytes"]) - present)


def free_bytes(folder: Path) -> int:
    """Free space where the folder is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def weight_files(folder: Path) -> list[Path]:
    """Files of the folder that hold weights, and are really there."""
    found = {path for pattern in WEIGHTS for path in folder.glob(pattern)}
    return sorted(path for path in found if path.exists())


def _problem(folder: Path, weights_bytes: int | None) -> str | None:
    if not folder.is_dir():
        return f"{folder} does not exist"
    dangling = sorted(path.name for path in folder.rglob("*") if path.is_symlink() and not path.exists())
    if dangling:
        return f"{folder} has links to files that are gone: {', '.join(dangling[:3])}"
    # A download by another user is there, and still of no use to the server.
    closed = sorted(path.name for path in folder.rglob("*") if not os.access(path, os.R_OK))
    if closed:
        return f"{folder} has files that user {os.geteuid()} may not read: {', '.join(closed[:3])}"
    if not (folder / "config.json").exists() and not (folder / "params.json").exists():
        return f"{folder} has no config.json"
    return _weights_problem(folder, weights_bytes)


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
