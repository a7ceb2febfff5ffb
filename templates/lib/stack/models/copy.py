"""A model from a folder, such as a disk that was carried to a machine without network, into the cache.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

from stack import EXIT_SNAPSHOT, JsonObject, StackError
from stack.models.download import EXIT_DISK, SMALL_FILES, disk_message
from stack.models.model import (
    WEIGHTS,
    cache_name,
    commit_in,
    free_bytes,
    hf_home,
    inside,
    missing_bytes,
    repository_folder,
    write_text,
)
from stack.models.verify import Wrong, git_hash_of, sha256_of


def copy_model(source: Path, model: JsonObject) -> None:
    """Bring every file that vLLM reads into the cache, each hashed before it counts."""
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
    if not (source / "config.json").exists() and not (source / "params.json").exists():
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
    """Paths below the snapshot of what vLLM reads, weights last, so that what is missing shows at once."""
    weights = [file["path"] for file in model["files"]]
    absent = [name for name in weights if not (snapshot / name).is_file()]
    if absent:
        raise StackError(EXIT_SNAPSHOT, f"{snapshot} lacks {len(absent)} weight files, such as {absent[0]}")
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
