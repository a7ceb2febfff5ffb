"""Replace a generated tree by another in one step, so that an interrupted run leaves the old one or the new one."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from compiler.emit.disk import FOLDER_MODE, make_folders, mode_fault
from compiler.emit.edited import Edited, edited_files
from compiler.emit.library import STORE, is_library, library_name, link_text
from compiler.emit.manifest import NAME, manifest_of, read_manifest
from compiler.emit.owned import PLAN, is_own, library_places, written_paths
from compiler.render.artifact import EXECUTABLE, Artifact
from compiler.source.files import NoFileError, TooLargeError, kind, read_file
from compiler.source.scan import existing_files, existing_folders


@dataclass(frozen=True)  # without slots: what follows from it is worked out once
class Tree:
    """A folder as it should be: the tree of a stack, or a library.

    Attributes:
        artifacts: its own files, with the manifest.
        libraries: those that its links lead to, by the path of the link in it.
        is_library: whether it is one, which nobody owns by a plan but by its name.
    """

    root: Path
    artifacts: tuple[Artifact, ...]
    libraries: Mapping[PurePosixPath, Tree] = field(default_factory=dict)
    is_library: bool = False

    @cached_property
    def links(self) -> Mapping[str, str]:
        """What each link says, by its path."""
        return {str(place): link_text(place, library.root.name) for place, library in self.libraries.items()}

    @cached_property
    def paths(self) -> frozenset[str]:
        """Of all its own files, and of its links."""
        return frozenset({*(str(artifact.path) for artifact in self.artifacts), *self.links})

    @cached_property
    def known_paths(self) -> frozenset[str]:
        """Of all that stackc may have put into the folder: its own paths, and those of a copy that follows links."""
        return frozenset({*self.paths, *self.contents})

    @cached_property
    def copied(self) -> tuple[Artifact, ...]:
        """All that is in a copy that follows links: its own files, and those of its libraries."""
        shared = (
            replace(artifact, path=place / artifact.path)
            for place, library in self.libraries.items()
            for artifact in library.artifacts
        )
        return (*self.artifacts, *shared)

    @cached_property
    def contents(self) -> Mapping[str, bytes]:
        """Of all these files, by path."""
        return _Encoded({str(artifact.path): artifact.text for artifact in self.copied})


class _Encoded(Mapping[str, bytes]):
    """Texts as files hold them, each encoded when it is asked for: those of a fleet are large, and few are wanted."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getitem__(self, path: str) -> bytes:
        return self._texts[path].encode()

    def __contains__(self, path: object) -> bool:
        return path in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def tree_of(root: Path, artifacts: Iterable[Artifact]) -> Tree:
    """A tree with its manifest, and the libraries beside it.

    Raises:
        ValueError: two artifacts have one path, or a library no manifest, which is a bug in a target.
    """
    listed = tuple(sorted(artifacts, key=lambda artifact: str(artifact.path)))
    if len({artifact.path for artifact in listed}) != len(listed):
        raise ValueError("two artifacts have the same path")
    shared: dict[PurePosixPath, list[Artifact]] = {
        place: [] for place in library_places({str(artifact.path) for artifact in listed})
    }
    own: list[Artifact] = []
    for each in listed:
        place = next((parent for parent in each.path.parents if parent in shared), None)
        (own if place is None else shared[place]).append(each)
    store = root.parent / STORE
    libraries = {place: _library_of(store, place, of_place) for place, of_place in shared.items()}
    return Tree(root, (*own, manifest_of(listed)), libraries)


def _library_of(store: Path, place: PurePosixPath, artifacts: Iterable[Artifact]) -> Tree:
    shared = tuple(replace(one, path=one.path.relative_to(place)) for one in artifacts)
    manifest = next(artifact for artifact in shared if artifact.path == NAME)
    if manifest != manifest_of(artifact for artifact in shared if artifact.path != NAME):
        raise ValueError(f"{place / NAME} does not list the library")
    return Tree(store / library_name(manifest.text.encode()), shared, is_library=True)


def ours(tree: Tree) -> frozenset[str] | None:
    """Paths in the folder that is in a tree's place which are stackc's; None where the folder is a stranger's.

    Damaged is a folder with a manifest that lists a plan, and with a program that is, byte for byte, one of those that
    stackc emits: a plan that was edited by hand, or whose merge was left with conflicts, makes it nobody else's. There
    all that the tree would hold is stackc's too, since the manifest may be what is damaged. A library says by its name
    what it should hold, so that one file of it or its manifest is enough.
    """
    if tree.is_library:
        is_known = is_library(tree.root) or any(is_same(tree.root / one.path, one) for one in tree.artifacts)
        return tree.paths if is_known else None
    written = written_paths(tree.root)
    if is_own(tree.root):
        return frozenset(written)
    lists_plan = any(path == PLAN or path.endswith(f"/{PLAN}") for path in written)
    if lists_plan and any(is_same(tree.root / one.path, one) for one in tree.artifacts if one.mode == EXECUTABLE):
        return tree.known_paths | written
    return None


def foreign_files(tree: Tree, stackcs: Collection[str], folder: Path | None = None) -> tuple[str, ...]:
    """Files of a tree's folder that stackc did not write and that writing the tree would lose, sorted.

    Args:
        stackcs: paths in it that are stackc's (see `ours`).
        folder: where that folder is, if not in the tree's own place.
    """
    folder = tree.root if folder is None else folder
    wanted = {str(artifact.path): artifact for artifact in tree.copied}
    return tuple(
        path
        for path in existing_files(folder)
        if path not in stackcs and not (path in wanted and is_same(folder / path, wanted[path]))
    )


def edits(tree: Tree, folder: Path | None = None) -> tuple[Edited, ...]:
    """Edits by hand that writing a tree would lose.

    Args:
        folder: where the tree's folder is, if not in its own place.
    """
    folder = tree.root if folder is None else folder
    # A library's list is known from its name, also where the file is gone.
    return edited_files(folder, tree.contents, _digests(tree) if tree.is_library else read_manifest(folder))


def _digests(tree: Tree) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in tree.contents.items() if path != str(NAME)}


def is_same(path: Path, artifact: Artifact) -> bool:
    """Whether a file, which is no link, holds these bytes."""
    wanted = artifact.text.encode()
    try:
        return not path.is_symlink() and read_file(path, len(wanted)) == wanted
    except (FileNotFoundError, NotADirectoryError, NoFileError, TooLargeError):
        return False


def is_current(tree: Tree) -> bool:
    """Whether the folder holds exactly these files and links, with these bytes and modes, in folders of right modes."""
    if tree.root.is_symlink() or set(existing_files(tree.root)) != tree.paths:
        return False
    if any(link_fault(tree.root / path, text) is not None for path, text in tree.links.items()):
        return False
    return all(_is_current_file(tree.root / one.path, one) for one in tree.artifacts) and not any(folder_faults(tree))


def link_fault(path: Path, text: str) -> str | None:
    """What is wrong with a link; None where it says this."""
    if not os.path.lexists(path):
        return "missing"
    if not path.is_symlink():
        return f"{kind(path.lstat().st_mode)} where a link has to be"
    return None if str(path.readlink()) == text else "a link elsewhere"


def folder_faults(tree: Tree) -> Iterator[tuple[str, str]]:
    """The folders of a tree, "." for itself, that have a wrong mode, and what is wrong with it."""
    for path in (".", *existing_folders(tree.root)):
        fault = mode_fault((tree.root / path).stat(follow_symlinks=False).st_mode, FOLDER_MODE)
        if fault is not None:
            yield path, fault


def _is_current_file(path: Path, artifact: Artifact) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    return mode_fault(path.stat().st_mode, artifact.mode) is None and is_same(path, artifact)


def write_staged(tree: Tree, folder: Path) -> None:
    """Write a tree's files into a folder of staging, the manifest first; nothing is on disk for sure afterwards.

    A file that the present tree has as it should be is that file, so that only what differs is written.
    """
    for artifact in sorted(tree.artifacts, key=lambda artifact: artifact.path != NAME):
        _put(tree.root / artifact.path, folder / artifact.path, artifact)
    for path, text in tree.links.items():
        _write_link(folder / path, text)


def _put(present: Path, path: Path, artifact: Artifact) -> None:
    if not _is_linked(present, path, artifact):
        _write_file(path, artifact)


def _is_linked(present: Path, path: Path, artifact: Artifact) -> bool:
    """Whether a file of the present tree now has a second name; one that others own or have names of stays theirs."""
    try:
        status = present.lstat()
        is_own = status.st_nlink == 1 and status.st_uid == os.geteuid()
        if not is_own or not _is_current_file(present, artifact):
            return False
        make_folders(path.parent)
        path.hardlink_to(present)
    except OSError:  # it is not there, or the file system has no second names: it is written
        return False
    return True


# What file systems without links answer: vfat the first, others one of the rest.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def _write_link(path: Path, text: str) -> None:
    make_folders(path.parent)
    try:
        path.symlink_to(text)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        message = "this file system has no symbolic links; give an --output on one that has"
        raise OSError(error.errno, message, str(path)) from error


def _write_file(path: Path, artifact: Artifact) -> None:
    make_folders(path.parent)
    with path.open("xb") as file:
        file.write(artifact.text.encode())
        os.fchmod(file.fileno(), artifact.mode)


def replace_tree(tree: Tree, folder: Path, *, prune: bool, force: bool) -> None:
    """Exchange, and look again: whoever put or edited a file in the old tree meanwhile finds everything as it was.

    Raises:
        OSError: the disk, or such a file; the tree is then as it was.
    """
    stackcs = ours(tree)
    _swap(folder, tree.root)
    found = [] if prune else [tree.root / path for path in foreign_files(tree, stackcs or (), folder)]
    if stackcs is not None and not force:
        found += [tree.root / each.path.relative_to(folder) for each in edits(tree, folder)]
    if found:
        _swap(folder, tree.root)
        raise appeared(found[0])


def appeared(path: Path) -> OSError:
    """Somebody's file or edit, in a folder that was to be replaced or removed."""
    return OSError(errno.EEXIST, "it appeared while stackc was writing, and everything was left as it was", str(path))


def _swap(staged: Path, root: Path) -> None:
    """Put the staged folder in the root's place; the old one, if any, takes the staged folder's name."""
    if not os.path.lexists(root):
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
