"""SHA256SUMS: what stackc wrote into a tree. `sha256sum -c SHA256SUMS` checks a copy on the server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from compiler.render.artifact import LIBRARY, Artifact, path_below
from compiler.source.files import read_file

NAME = PurePosixPath("SHA256SUMS")
# A node has some sixty files of some hundred bytes here; nothing near this bound is a manifest, of thousands of nodes.
_MAX_BYTES = 64 << 20
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<path>[^/].*)")


def manifest_of(artifacts: Iterable[Artifact]) -> Artifact:
    """The manifest of a tree, in the format of sha256sum, sorted by path."""
    lines = sorted((str(artifact.path), _digest(artifact.text)) for artifact in artifacts)
    return Artifact(NAME, "".join(f"{digest}  {path}\n" for path, digest in lines))


@lru_cache(maxsize=1024)
def _digest(text: str) -> str:
    """Kept, since every tree lists the files of the same library."""
    return hashlib.sha256(text.encode()).hexdigest()


def with_library_manifest(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """The artifacts of one machine's tree, with `lib/SHA256SUMS` if any of them belongs to the library."""
    listed = tuple(artifacts)
    shared = [replace(one, path=path) for one in listed if (path := path_below(one.path, LIBRARY)) is not None]
    return (*listed, replace(manifest_of(shared), path=LIBRARY / NAME)) if shared else listed


def read_manifest(folder: Path) -> Mapping[str, str]:
    """The digest of each path that a folder's own SHA256SUMS names; empty if it has none. Other lines say nothing."""
    try:
        lines = read_file(folder / NAME, _MAX_BYTES).decode().split("\n")
    except (OSError, UnicodeDecodeError):
        return {}
    found = (_LINE.fullmatch(line) for line in lines)
    return {match["path"]: match["digest"] for match in found if match and ".." not in match["path"].split("/")}
