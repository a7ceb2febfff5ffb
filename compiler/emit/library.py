"""The library: files that no stack changes, which stand once in an output and are shared by all of its trees.

It lies in `_lib/` beside the trees, which no stack can be called, under the beginning of its manifest's digest: the
name says what it holds, so that what has a name never changes. In each tree `lib` is a relative link to it, and the
tree's manifest lists its files as `lib/…`: a copy that follows links is whole by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from compiler.emit.manifest import NAME
from compiler.emit.owned import is_folder
from compiler.render.artifact import LIBRARY
from compiler.source.files import read_file

STORE = "_lib"
_DIGITS = 12
_DIGEST = re.compile(r"[0-9a-f]{12}")
_MAX_MANIFEST = 1 << 20


def library_name(manifest: bytes) -> str:
    """What the library with this manifest is called."""
    return hashlib.sha256(manifest).hexdigest()[:_DIGITS]


def link_text(place: PurePosixPath, name: str) -> str:
    """What a link at this path of a tree says."""
    return "/".join([*[".."] * len(place.parts), STORE, name])


def linked_library(place: PurePosixPath, text: str) -> str | None:
    """The library that a link at this path of a tree leads to; None where it leads anywhere else."""
    name = text.rpartition("/")[2]
    return name if _DIGEST.fullmatch(name) is not None and text == link_text(place, name) else None


def is_library(folder: Path) -> bool:
    """Whether a folder is a library by its name and its manifest, whatever became of its other files."""
    if _DIGEST.fullmatch(folder.name) is None or not is_folder(folder):
        return False
    manifest = folder / NAME
    try:
        return not manifest.is_symlink() and library_name(read_file(manifest, _MAX_MANIFEST)) == folder.name
    except OSError:
        return False


def is_store(folder: Path) -> bool:
    """Whether a folder holds libraries of stackc's."""
    return folder.name == STORE and is_folder(folder) and any(map(is_library, folder.iterdir()))


def links_of(folder: Path) -> Iterator[str]:
    """The libraries to which a folder of an output leads, in its place or in those of nodes; no link is followed."""
    if not is_folder(folder):
        return
    nodes = (PurePosixPath(entry.name) for entry in folder.iterdir() if is_folder(entry))
    for place in (LIBRARY, *(node / LIBRARY for node in nodes)):
        link = folder / place
        name = linked_library(place, str(link.readlink())) if link.is_symlink() else None
        if name is not None:
            yield name
