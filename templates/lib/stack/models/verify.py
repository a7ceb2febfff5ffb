"""Hashes of a model's files against those that the lock recorded, and a memory of what was found right.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from stack import JsonObject
from stack.models.model import hf_home, write_text

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
