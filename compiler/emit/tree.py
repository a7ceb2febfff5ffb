"""Replace a generated tree by another in one step, so that an interrupted run leaves the old one or the new one."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.emit.manifest import manifest_of, written_paths
from compiler.render.artifact import EXECUTABLE, Artifact


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder as it should be: every artifact, and the manifest."""

    root: Path
    artifacts: tuple[Artifact, ...]


def tree_of(root: Path, artifacts: Iterable[Artifact]) -> Tree:
    """A tree with its manifest.

    Raises:
        ValueError: two artifacts have one path, which is a bug in a target.
    """
    listed = tuple(sorted(artifacts, key=lambda artifact: str(artifact.path)))
    if len({artifact.path for artifact in listed}) != len(listed):
        raise ValueError("two artifacts have the same path")
    return Tree(root, (*listed, manifest_of(listed)))


def foreign_files(tree: Tree) -> tuple[str, ...]:
    """Files below the root that stackc neither wrote before nor writes now, sorted."""
    ours = written_paths(tree.root) | {str(artifact.path) for artifact in tree.artifacts}
    return tuple(path for path in existing_files(tree.root) if path not in ours)


def existing_files(root: Path) -> tuple[str, ...]:
    """Relative paths of all files and links below a folder, sorted; empty if there is none."""
    found = []
    for folder, folders, files in os.walk(root):
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in (*files, *linked)]
    return tuple(sorted(found))


def is_current(tree: Tree) -> bool:
    """Whether the folder holds exactly these files, with these bytes and modes."""
    if existing_files(tree.root) != tuple(sorted(str(artifact.path) for artifact in tree.artifacts)):
        return False
    return all(_is_current_file(tree.root / artifact.path, artifact) for artifact in tree.artifacts)


def _is_current_file(path: Path, artifact: Artifact) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    executable = bool(path.stat().st_mode & 0o100)
    return executable == (artifact.mode == EXECUTABLE) and path.read_bytes() == artifact.text.encode()


def write_tree(tree: Tree) -> bool:
    """Replace the folder if it differs.

    Returns:
        Whether anything changed.

    Raises:
        OSError: the disk, or permissions; the folder is then as it was.
    """
    if is_current(tree):
        return False
    if tree.root.is_symlink():
        raise OSError(errno.ELOOP, "a generated folder must not be a symbolic link", str(tree.root))
    tree.root.parent.mkdir(parents=True, exist_ok=True)
    with _staging(tree.root) as staged:
        for artifact in tree.artifacts:
            _write_file(staged / artifact.path, artifact)
        _swap(staged, tree.root)
    return True


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder beside the target, removed afterwards with whatever it then holds."""
    folder = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_file(path: Path, artifact: Artifact) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(artifact.text.encode())
        file.flush()
        os.fsync(file.fileno())
    path.chmod(artifact.mode)


def _swap(staged: Path, root: Path) -> None:
    """Put the staged folder in the root's place; the old one, if any, takes the staged folder's name."""
    if not root.exists():
        staged.rename(root)
        return
    _exchange(staged, root)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NOT_OFFERED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def _exchange(first: Path, second: Path) -> None:
    """Swap two names atomically: renameat2(2), Linux 3.15 and glibc 2.28, which the standard library does not wrap.

    Other systems, and file systems without it, get two renames: there alone a crash between them leaves the old tree
    under another name.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        _rename_in_turn(first, second)
        return
    paths = (os.fsencode(first), os.fsencode(second))
    if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _NOT_OFFERED:
        raise OSError(number, os.strerror(number), str(second))
    _rename_in_turn(first, second)


def _rename_in_turn(first: Path, second: Path) -> None:
    aside = first.with_name(f"{first.name}.old")
    second.rename(aside)
    try:
        first.rename(second)
    except BaseException:  # an interrupt too must find the old tree in its place
        aside.rename(second)
        raise
    aside.rename(first)
