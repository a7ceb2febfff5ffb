"""Files of a generated tree that somebody edited: they are not what the tree's own manifest lists.

The manifest, and not what is compiled now, is asked: a tree of an older release, or of an older spec, is whole by its
own manifest and is nobody's work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from compiler.emit.manifest import NAME
from compiler.source.files import NoFileError, TooLargeError, read_file

# What a generated file may grow to by hand. A larger one is known as changed unread.
_MAX_FILE = 64 << 20
# `git merge` leaves it at the start of a line. Both sides of a merge are committed, so that nothing is lost.
_CONFLICT = b"<<<<<<< "


@dataclass(frozen=True, slots=True)
class Edited:
    """One such file. `line` is the first that is not as it will be written, from 1; `text` is what stands there now."""

    path: Path
    text: str
    line: int


def edited_files(folder: Path, wanted: Mapping[str, bytes], listed: Mapping[str, str]) -> tuple[Edited, ...]:
    """Those whose content writing would lose, by path; none of a tree whose merge was left with conflicts.

    Args:
        folder: of a tree of stackc's.
        wanted: what will be written there, by path below it; what a file already holds cannot be lost.
        listed: the digest of each file that stackc wrote there. What is reached through a link does not lie there.
    """
    if _is_conflicted(_content(folder / NAME) or b""):
        return ()
    here = ((path, digest) for path, digest in sorted(listed.items()) if not _is_behind_link(folder, path))
    found = ((folder / path, _edit(folder / path, digest), wanted.get(path)) for path, digest in here)
    return tuple(_edited(path, edit, after) for path, edit, after in found if edit is not None and edit != after)


def _is_behind_link(folder: Path, path: str) -> bool:
    parents = (parent for parent in PurePosixPath(path).parents if parent.name)
    return any((folder / parent).is_symlink() for parent in parents)


def _edit(path: Path, digest: str) -> bytes | None:
    """The content of a file that is not the one that is listed. A link or a file that is gone holds no edit."""
    content = _content(path)
    if content is None or hashlib.sha256(content).hexdigest() == digest or _is_conflicted(content):
        return None
    return content


def _content(path: Path) -> bytes | None:
    if path.is_symlink():
        return None
    try:
        return read_file(path, _MAX_FILE)
    except (FileNotFoundError, NotADirectoryError, NoFileError):
        return None
    except TooLargeError:
        return b""


def _is_conflicted(content: bytes) -> bool:
    return content.startswith(_CONFLICT) or b"\n" + _CONFLICT in content


def _edited(path: Path, edit: bytes, wanted: bytes | None) -> Edited:
    lines, others = edit.splitlines(), (wanted or b"").splitlines()
    pairs = enumerate(zip(lines, others, strict=False), start=1)
    first = next((number for number, (line, other) in pairs if line != other), min(len(lines), len(others)) + 1)
    return Edited(path, edit.decode(errors="replace"), min(first, max(1, len(lines))))
