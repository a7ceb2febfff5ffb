"""Installed versions of the tree, side by side, and the links that say which of them is used.

    INSTALL/versions/ID     a complete tree; ID is the beginning of its manifest's digest
    INSTALL/current         the version that runs, or that starts next
    INSTALL/previous        the version to which `rollback` goes
    INSTALL/unfinished      while a change is under way: the version that is known to work

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

from _host import EXIT_FAILED, UNITS, Host, sync_folder, write_link
from _stack import EXIT_USAGE, JsonObject, StackError

MANIFEST = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_WRITTEN = "written by `stackc compile`"


class Tree(NamedTuple):
    """A tree whose every file is what its manifest says. `files` are its contents by relative path."""

    version: str
    files: dict[str, bytes]

    @property
    def units(self) -> list[str]:
        """Names of its units, sorted."""
        return sorted(path.partition("/")[2] for path in self.files if path.startswith("systemd/"))


def read_tree(folder: Path) -> Tree:
    """A tree as it was compiled, or an error that says which file is damaged."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        lines = manifest.decode("utf-8").splitlines()
        files = {path: (folder / path).read_bytes() for path in (_split(folder, line)[1] for line in lines)}
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(EXIT_FAILED, f"the copy in {folder} is damaged: {error}") from error
    for digest, path in (_split(folder, line) for line in lines):
        if hashlib.sha256(files[path]).hexdigest() != digest:
            raise StackError(EXIT_FAILED, f"the copy in {folder} is damaged: {path} is not what {MANIFEST} says")
    return Tree(hashlib.sha256(manifest).hexdigest()[:12], {**files, MANIFEST: manifest})


def _split(folder: Path, line: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if match is None or match[2].startswith("/") or ".." in match[2].split("/"):
        raise StackError(EXIT_FAILED, f"the copy in {folder} is damaged: {MANIFEST} has the line {line!r}")
    return match[1], match[2]


class Site:
    """The place of one stack on a machine: its versions, its links, and its units in systemd's folder."""

    def __init__(self, host: Host, plan: JsonObject) -> None:
        self.host = host
        self.stack: str = plan["stack"]
        self.install: str = plan["paths"]["install"]
        self.target = f"{self.stack}.target"

    def version(self, link: str) -> str | None:
        """The version that a link names, if it is there."""
        try:
            name = Path(os.readlink(self.host.path(f"{self.install}/{link}"))).name
        except OSError:
            return None
        return name if self.folder(name).is_dir() else None

    def folder(self, version: str) -> Path:
        """Where a version lies."""
        return self.host.path(f"{self.install}/versions/{version}")

    def point(self, link: str, version: str) -> None:
        """Let a link name a version."""
        path = f"{self.install}/{link}"
        self.host.step(f"{path} -> {version}", partial(write_link, self.host.path(path), f"versions/{version}"))

    def unpoint(self, link: str) -> None:
        """Remove a link, if it is there."""
        path = self.host.path(f"{self.install}/{link}")
        if path.is_symlink():
            self.host.step(f"remove {self.install}/{link}", path.unlink)

    def become_previous(self) -> None:
        """The version that was known to work is the one to roll back to: one rename ends the change."""
        path = self.host.path(f"{self.install}/unfinished")
        self.host.step(f"{self.install}/unfinished becomes previous", partial(path.replace, path.with_name("previous")))

    def stage(self, tree: Tree) -> None:
        """Put a version beside the others. It has its name only once it is complete and on the disk."""
        folder = self.folder(tree.version)
        if folder.is_dir():
            self._repair(tree, folder)
            return
        staged = folder.with_name(f".{tree.version}")

        def copy() -> None:
            shutil.rmtree(staged, ignore_errors=True)
            for path, data in tree.files.items():
                _write(staged / path, data)
            staged.replace(folder)
            sync_folder(folder.parent)

        self.host.step(f"copy the tree to {self.install}/versions/{tree.version}", copy)

    def _repair(self, tree: Tree, folder: Path) -> None:
        """Somebody may have edited what is installed."""
        for path, data in tree.files.items():
            if not (folder / path).is_file() or (folder / path).read_bytes() != data:
                restored = f"restore {self.install}/versions/{tree.version}/{path}"
                self.host.step(restored, partial(_write, folder / path, data))

    def prune(self) -> None:
        """Remove versions that no link names."""
        used = {self.version(link) for link in ("current", "previous", "unfinished")}
        folder = self.host.path(f"{self.install}/versions")
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in used:
                self.host.step(f"remove {self.install}/versions/{path.name}", partial(shutil.rmtree, path))

    def check_units(self, names: list[str]) -> None:
        """Refuse to take the place of units that are not this stack's."""
        for name in names:
            path = self.host.path(f"{UNITS}/{name}")
            if path.is_symlink() and os.readlink(path) != self._unit(name):
                raise StackError(EXIT_USAGE, f"{path} is a link to {os.readlink(path)}: uninstall that first")
            if not path.is_symlink() and path.exists() and _WRITTEN not in path.read_text("utf-8", "replace")[:400]:
                raise StackError(
                    EXIT_USAGE, f"{path} was not written by stackc: remove it, or call the stack otherwise"
                )

    def link_units(self, names: list[str]) -> None:
        """Let systemd find units by way of `current`, so that its one rename changes all of them."""
        for name in names:
            path = self.host.path(f"{UNITS}/{name}")
            if not path.is_symlink():
                target = self._unit(name)
                self.host.step(f"{UNITS}/{name} -> {target}", partial(write_link, path, target))

    def linked_units(self) -> list[str]:
        """Units of this stack that systemd can find, sorted."""
        folder = self.host.path(UNITS)
        links = [path for path in folder.iterdir() if path.is_symlink()] if folder.is_dir() else []
        return sorted(path.name for path in links if os.readlink(path) == self._unit(path.name))

    def unlink_units(self, names: list[str]) -> None:
        """Take units away from systemd."""
        for name in names:
            self.host.step(f"remove {UNITS}/{name}", self.host.path(f"{UNITS}/{name}").unlink)

    def enable(self) -> None:
        """Let the stack start with the machine. `systemctl enable` would link to the version, not to `current`."""
        path = self._wants()
        if not path.is_symlink():
            self.host.step(f"enable {self.target}", partial(write_link, path, f"../{self.target}"))

    def disable(self) -> None:
        """Let the stack no longer start with the machine."""
        path = self._wants()
        if path.is_symlink():
            self.host.step(f"disable {self.target}", path.unlink)

    def _wants(self) -> Path:
        return self.host.path(f"{UNITS}/multi-user.target.wants/{self.target}")

    def _unit(self, name: str) -> str:
        return f"{self.install}/current/systemd/{name}"


def _write(path: Path, data: bytes) -> None:
    """Replace a file in one step; programs are those that say by which interpreter they run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(0o755 if data.startswith(b"#!") else 0o644)
    fresh.replace(path)
    sync_folder(path.parent)
