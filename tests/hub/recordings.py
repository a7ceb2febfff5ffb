"""Repositories as the loopback Hub knows them: read from recorded facts, or made up by a test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.hub.gguf_headers import Headers, Shapes

RECORDED = Path(__file__).parent / "recorded"
_LARGE = (".safetensors", ".bin", ".pt", ".gguf")


@dataclass(frozen=True)
class Recording:
    """One repository.

    Attributes:
        files: sizes by path, None where a size is not known; no listing at all where `files` is None.
        contents: what the files hold; a listed file without content answers 404.
        branches: beside main, by name.
        secret: a token without which the repository is not given out: its files where it is gated, all of it where
            it is not (then it is private).
    """

    repo: str
    commit: str | None = None
    license: str | None = None
    license_name: str | None = None
    base_model: str | None = None
    base_relation: str | None = None
    pipeline_tag: str | None = "text-generation"
    gated: bool | str = False
    tags: tuple[str, ...] = ()
    renamed_from: tuple[str, ...] = ()
    files: Mapping[str, int | None] | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict)
    branches: Mapping[str, Recording] = field(default_factory=dict)
    secret: str | None = None

    def refs(self) -> dict[str, Any]:
        """The answer to /api/models/{repo}/refs."""
        commits = {"main": self.commit, **{name: branch.commit for name, branch in self.branches.items()}}
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit} for name, commit in commits.items()
        ]
        return {"tags": [], "branches": branches, "converts": []}

    def at(self, revision: str | None) -> Recording | None:
        """The repository at a commit or branch."""
        if revision in (None, "main", self.commit):
            return self
        found = (branch for name, branch in self.branches.items() if revision in (name, branch.commit))
        return next(found, None)

    def info(self, *, blobs: bool) -> dict[str, Any]:
        """The answer to /api/models/{repo}."""
        card = {"license": self.license, "license_name": self.license_name, "base_model": self.base_model}
        tags = [*self.tags]
        if self.license:
            tags.append(f"license:{self.license}")
        if self.base_model:
            tags += [f"base_model:{self.base_model}", f"base_model:{self.base_relation}:{self.base_model}"]
        answer: dict[str, Any] = {
            "id": self.repo,
            "modelId": self.repo,
            "author": self.repo.partition("/")[0],
            "private": False,
            "gated": self.gated,
            "disabled": False,
            "lastModified": "2024-09-24T15:48:47.000Z",
            "tags": tags,
            "cardData": {key: value for key, value in card.items() if value is not None},
        }
        if self.pipeline_tag is not None:
            answer["pipeline_tag"] = self.pipeline_tag
        if self.commit is not None:
            answer["sha"] = self.commit
        if self.files is not None:
            answer["siblings"] = [self._sibling(path, blobs=blobs) for path in self.files]
        return answer

    def tree(self) -> list[dict[str, Any]]:
        """The answer to /api/models/{repo}/tree/{revision}: the files whose content is known."""
        return [self._entry(path, content) for path, content in self.contents.items()]

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
        if path.endswith(_LARGE):
            entry["lfs"] = {"oid": self.hash_of(path), "size": len(content), "pointerSize": 135}
        return entry

    def hash_of(self, path: str) -> str:
        """Under which name a cache keeps the file: its SHA-256 where it is large, else what git calls it."""
        content = self.contents[path]
        if path.endswith(_LARGE):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

    def _sibling(self, path: str, *, blobs: bool) -> dict[str, Any]:
        size = (self.files or {})[path]
        if not blobs or size is None:
            return {"rfilename": path}
        blob = {"rfilename": path, "size": size, "blobId": "0" * 40}
        if path.endswith(_LARGE):
            blob["lfs"] = {"size": size, "sha256": f"{len(path):064x}", "pointerSize": 135}
        return blob


def read_recordings(folder: Path = RECORDED) -> list[Recording]:
    """All recorded repositories of a folder."""
    return [replace(one, contents=copy(one.contents), files=one.files and dict(one.files)) for one in _read(folder)]


@cache
def _read(folder: Path) -> tuple[Recording, ...]:
    """Read once for all servers, each of which gets copies."""
    yaml = YAML(typ="safe", pure=True)
    return tuple(_recording(yaml.load(path)) for path in sorted(folder.glob("*.yaml")))


def _recording(data: dict[str, Any]) -> Recording:
    files = data.pop("files", None)
    listing = None if files is None else {file["path"]: file.get("size") for file in files}
    has_template, gguf = data.pop("chat_template"), data.pop("gguf", None)
    if gguf is not None:
        return Recording(**data, files=listing, contents=_headers(gguf, tuple(listing or ()), template=has_template))
    contents = {"config.json": json.dumps(data.pop("config"), indent=2).encode()}
    tokenizer: dict[str, Any] = {"model_max_length": 1000000000000000019884624838656}
    if has_template:
        tokenizer["chat_template"] = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    contents["tokenizer_config.json"] = json.dumps(tokenizer).encode()
    return Recording(**data, files=listing, contents=contents)


def _headers(gguf: dict[str, Any], paths: tuple[str, ...], *, template: bool) -> Headers:
    tensors = {name: tuple(shape) for name, shape in gguf["tensors"].items()}
    shapes = Shapes(gguf["keys"], tensors, gguf["vocabulary"], frozenset(gguf["mixtures"]), template)
    return Headers(shapes, paths)
