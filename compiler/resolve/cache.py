"""What the Hub said about commits, kept on this machine. A commit never changes, so its facts are never asked twice.

Everything in here may be deleted at any time, and a file that is not as it should be counts as not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from compiler.lock.models import FULL_COMMIT, SCHEMA_VERSION, ModelFacts, branch_of
from compiler.resolve.answers import Repository
from compiler.source.files import read_file

# Raised whenever the same answers of a Hub are read as other facts.
READING = 5
MAX_ENTRY = 16 << 20

Listing = Literal["variants", "branches"]


@dataclass(frozen=True, slots=True)
class Head:
    """Where a name led the last time: to a repository at a commit, or nowhere."""

    name: str | None
    commit: str | None = None


class Cache:
    """Facts by commit, and for offline use the last answer to every name and listing. None as folder keeps nothing."""

    def __init__(self, folder: Path | None, endpoint: str) -> None:
        version = f"facts-{SCHEMA_VERSION}.{READING}"
        place = hashlib.sha256(endpoint.encode(errors="replace")).hexdigest()[:16]
        self._folder = None if folder is None else folder / version / place

    def facts(self, key: str, commit: str | None) -> ModelFacts | None:
        """Facts of a model, by its key of the lock, at a commit that was read before."""
        if commit is None or FULL_COMMIT.fullmatch(commit) is None:
            return None
        data = self._read("commits", key, commit)
        with contextlib.suppress(ValidationError):
            facts = ModelFacts.model_validate(data)
            return facts if (facts.commit, facts.branch) == (commit, branch_of(key)) else None
        return None

    def keep_facts(self, key: str, facts: ModelFacts) -> None:
        """Remember facts by their key of the lock, if they are those of a full commit."""
        if facts.is_pinned:
            data = facts.model_dump(mode="json", exclude_defaults=True)
            self._write("commits", key, str(facts.commit), data)

    def head(self, key: str) -> Head | None:
        """Where a name led the last time; None where it was never asked for."""
        data = self._read("heads", key, "head")
        if not isinstance(data, dict):
            return None
        name, commit = data.get("name"), data.get("commit")
        return Head(name if isinstance(name, str) else None, commit if isinstance(commit, str) else None)

    def keep_head(self, key: str, repository: Repository | None) -> None:
        """Remember where a name led; None where it led nowhere."""
        data = {"name": None} if repository is None else {"name": repository.name, "commit": repository.commit}
        self._write("heads", key, "head", data)

    def listing(self, kind: Listing, name: str) -> tuple[str, ...] | None:
        """Names that a listing gave the last time."""
        data = self._read(kind, name, "listing")
        is_listing = isinstance(data, list) and all(isinstance(item, str) for item in data)
        return tuple(data) if is_listing else None

    def keep_listing(self, kind: Listing, name: str, names: tuple[str, ...]) -> None:
        """Remember the names of a listing."""
        self._write(kind, name, "listing", list(names))

    def _path(self, kind: str, key: str, entry: str) -> Path | None:
        # Names of repositories hold no `--`, and a hash keeps branches and odd names from being paths.
        if self._folder is None:
            return None
        digest = hashlib.sha256(key.encode(errors="replace")).hexdigest()[:32]
        return self._folder / kind / digest / f"{entry}.json"

    def _read(self, kind: str, key: str, entry: str) -> Any:
        path = self._path(kind, key, entry)
        if path is None:
            return None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return json.loads(read_file(path, MAX_ENTRY))
        return None

    def _write(self, kind: str, key: str, entry: str, data: Any) -> None:
        path = self._path(kind, key, entry)
        if path is None:
            return
        # A cache that cannot be written costs time and nothing else.
        with contextlib.suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, json.dumps(data).encode())


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step, so that no reader ever sees half of it."""
    handle, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
