"""Installed versions of the tree, side by side, the links that say which of them is used, and whose units there are.

    INSTALL/versions/ID     a complete tree; ID is the beginning of its manifest's digest
    INSTALL/current         the version that runs, or that starts next
    INSTALL/previous        the version to which `rollback` goes
    INSTALL/unfinished      while a change is under way: the version that is known to work

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from stack import JsonObject, StackError
from stack.install.host import (
    EXIT_FAILED,
    EXIT_FOREIGN,
    EXIT_UNIT,
    UNITS,
    Host,
    drop,
    obstacle,
    remove_if_empty,
    sync_folder,
    write_link,
)

MANIFEST = "SHA256SUMS"
LINKS = ("current", "previous", "unfinished")
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_NAMED = re.compile(r"versions/([0-9a-f]{12})")
# A dot is in front while a version is copied.
_VERSION = re.compile(r"\.?([0-9a-f]{12})")


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
            named = _NAMED.fullmatch(os.readlink(self.host.path(f"{self.install}/{link}")))
        except OSError:
            return None
        return named[1] if named is not None and self.folder(named[1]).is_dir() else None

    def owner(self) -> str | None:
        """The stack that is installed here, whichever it is."""
        return stack_of(self.host.path(f"{self.install}/current"))

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
        if path.is_symlink() and _NAMED.fullmatch(os.readlink(path)):
            drop(self.host, f"{self.install}/{link}", path.unlink)

    def become_previous(self) -> None:
        """The version that was known to work is the one to roll back to: one rename ends the change."""
        path = self.host.path(f"{self.install}/unfinished")
        previous = path.with_name("previous")
        if os.path.lexists(previous) and not previous.is_symlink():
            raise StackError(EXIT_FOREIGN, f"{previous} is no link: it was not put there by stackc, move it away")
        self.host.step(f"{self.install}/unfinished becomes previous", partial(path.replace, previous))

    def stage(self, tree: Tree) -> None:
        """Put a version beside the others. It has its name only once it is complete and on the disk."""
        folder = self.folder(tree.version)
        if folder.is_dir():
            self._repair(tree, folder)
            return
        staged = folder.with_name(f".{tree.version}")

        def copy() -> None:
            _remove_listed(staged)
            if staged.exists():
                raise StackError(EXIT_FOREIGN, f"{staged} holds what stackc did not put there: move it away")
            # The manifest comes first: of a copy that is cut off, it says what is ours.
            for path in (MANIFEST, *tree.files):
                _write(staged / path, tree.files[path])
            staged.replace(folder)
            sync_folder(folder.parent)

        self.host.step(f"copy the tree to {self.install}/versions/{tree.version}", copy)

    def _repair(self, tree: Tree, folder: Path) -> None:
        """Somebody may have edited what is installed."""
        _refuse_links(folder, tree.files)
        for path, data in tree.files.items():
            if not (folder / path).is_file() or (folder / path).read_bytes() != data:
                restored = f"restore {self.install}/versions/{tree.version}/{path}"
                self.host.step(restored, partial(_write, folder / path, data))

    def prune(self) -> None:
        """Remove versions that no link names."""
        self._remove_versions(kept={self.version(link) for link in LINKS})

    def remove(self) -> None:
        """Remove links and versions that were put here, and a folder once it is empty; tell what stays."""
        if self.owner() not in (None, self.stack):
            self.host.leave(self.install, f"it belongs to stack {self.owner()}")
            return
        for link in LINKS:
            self.unpoint(link)
        self._remove_versions(kept=())
        if self.host.path(f"{self.install}/versions").is_dir():
            remove_if_empty(self.host, f"{self.install}/versions")
        remove_if_empty(self.host, self.install)

    def _remove_versions(self, kept: Iterable[str | None]) -> None:
        folder = self.host.path(f"{self.install}/versions")
        if obstacle(folder) is not None or not folder.is_dir():
            return
        for path in sorted(folder.iterdir()):
            if path.name not in kept and self._is_version(path):
                self._remove_version(path)

    def _remove_version(self, path: Path) -> None:
        name, others = f"{self.install}/versions/{path.name}", foreign_files(path)
        for other in others:
            self.host.leave(f"{name}/{other}", "not of this version")
        if others:
            self.host.step(f"remove the version's own files from {name}", partial(_remove_listed, path))
        else:
            drop(self.host, name, partial(_remove_listed, path))

    def _is_version(self, path: Path) -> bool:
        """Whether a folder was put here by this program, for this stack."""
        named = _VERSION.fullmatch(path.name)
        if named is None or obstacle(path) is not None or not path.is_dir():
            return False
        if not os.listdir(path):
            return True  # whoever removed it before was cut off
        return manifest_digest(path) == named[1] and stack_of(path) in (None, self.stack)

    def link_units(self, names: list[str]) -> None:
        """Let systemd find units by way of `current`, so that its one rename changes all of them."""
        for name in names:
            path = self.host.path(f"{UNITS}/{name}")
            if not path.is_symlink():
                target = self.unit(name)
                change = partial(write_link, path, target, replaces_file=True)  # check_units has seen whose it is
                self.host.step(f"{UNITS}/{name} -> {target}", change)

    def linked_units(self) -> list[str]:
        """Units of this stack that systemd can find, sorted."""
        folder, is_ours = self.host.path(UNITS), self.owner() in (None, self.stack)
        links = [path for path in folder.iterdir() if path.is_symlink()] if is_ours and folder.is_dir() else []
        return sorted(path.name for path in links if os.readlink(path) == self.unit(path.name))

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
        own = (f"../{self.target}", f"{UNITS}/{self.target}", self.unit(self.target))
        is_ours = self.target in self.linked_units() or not os.path.lexists(self.host.path(f"{UNITS}/{self.target}"))
        if path.is_symlink() and os.readlink(path) in own and is_ours:
            self.host.step(f"disable {self.target}", path.unlink)

    def _wants(self) -> Path:
        return self.host.path(f"{UNITS}/multi-user.target.wants/{self.target}")

    def unit(self, name: str) -> str:
        """What systemd's link to a unit leads to."""
        return f"{self.install}/current/systemd/{name}"


def stack_of(folder: Path) -> str | None:
    """The stack that a version is of, as far as it can still be read."""
    try:
        return str(json.loads((folder / "plan.json").read_text(encoding="utf-8"))["stack"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def manifest_digest(folder: Path) -> str | None:
    """What the version would be called by its manifest."""
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def foreign_files(folder: Path) -> list[str]:
    """What lies in a version and was not put there, by relative path; links are looked at and not through."""
    own = _own_paths(folder)
    found = [str(path.relative_to(folder)) for path in _below(folder)]
    return sorted(path for path in found if path not in own)


def _own_paths(folder: Path) -> set[str]:
    """Everything that the manifest lists, and what a copy that was cut off may have left beside it."""
    path = folder / MANIFEST
    lines = path.read_text(encoding="utf-8").splitlines() if manifest_digest(folder) is not None else []
    listed = [PurePosixPath(_split(folder, line)[1]) for line in lines] + [PurePosixPath(MANIFEST)]
    return {str(each) for path in listed for each in (path, path.with_name(f".{path.name}.new"))}


def _below(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder."""
    for above, folders, files in os.walk(folder, followlinks=False):
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]
        yield from (Path(above, name) for name in (*files, *links))


def _remove_listed(folder: Path) -> None:
    """Remove what was put into a version; its manifest last, so that a removal that is cut off can go on."""
    own = _own_paths(folder) - {MANIFEST} if folder.is_dir() else set()
    for path in [path for path in _below(folder) if str(path.relative_to(folder)) in own]:
        path.unlink()
    for above in [above for above, _, _ in os.walk(folder, topdown=False, followlinks=False) if Path(above) != folder]:
        if not os.listdir(above):
            os.rmdir(above)
    if folder.is_dir():
        (folder / MANIFEST).unlink(missing_ok=True)
        if not os.listdir(folder):
            folder.rmdir()


def _refuse_links(folder: Path, paths: Iterable[str]) -> None:
    """Nothing is written through a link, such as `lib` of a tree that somebody put here without following it."""
    for parent in sorted({str(parent) for path in paths for parent in PurePosixPath(path).parents}):
        if (folder / parent).is_symlink():
            raise StackError(EXIT_FOREIGN, f"{folder / parent} is a link: it was not put there by stackc, move it away")


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


# Where systemd finds units that no administrator has put there: packages', those of generators, and of programs.
_OTHERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# There an administrator adds to units of whatever name.
_ADMINISTRATORS = (UNITS, "/run/systemd/system", "/run/systemd/system.control", "/etc/systemd/system.control")
_HEAD = 400


def check_units(site: Site, names: list[str]) -> None:
    """Refuse to take the place of units that are not this stack's, and say who adds to them."""
    for name in names:
        _check_own_folder(site, name)
        for folder in _OTHERS:
            _check_folder(site, folder, name)
        for folder in _ADMINISTRATORS:
            if os.path.lexists(site.host.path(f"{folder}/{name}.d")):
                site.host.warn(f"{folder}/{name}.d changes this unit")


def _check_own_folder(site: Site, name: str) -> None:
    path = site.host.path(f"{UNITS}/{name}")
    if path.is_symlink() and os.readlink(path) != site.unit(name):
        raise StackError(EXIT_UNIT, f"{path} is a link to {os.readlink(path)}: uninstall that first, or {_RENAME}")
    if not path.is_symlink() and path.exists() and not _is_copy(path, site.stack):
        raise StackError(EXIT_UNIT, f"{path} is not of this stack: remove it, or {_RENAME}")


def _is_copy(path: Path, stack: str) -> bool:
    """Whether somebody copied a unit of this stack there, instead of installing it."""
    text = path.read_text("utf-8", "replace")[:_HEAD] if path.is_file() else ""
    return f"# Stack `{stack}`, written by `stackc compile`." in text


def _check_folder(site: Site, folder: str, name: str) -> None:
    """The unit itself, or something that is added to it: both are of a program that has a unit of this name."""
    for found in (name, *(f"{name}.{kind}" for kind in ("d", "wants", "requires", "upholds"))):
        if found.endswith(".d") and folder in _ADMINISTRATORS:
            continue
        path = site.host.path(f"{folder}/{found}")
        # An upgrade that was cut off leaves the unit of its download.
        if os.path.lexists(path) and not (folder == "/run/systemd/system" and _is_copy(path, site.stack)):
            raise StackError(EXIT_UNIT, f"{folder}/{found} is of another program, which has a unit {name}: {_RENAME}")


_RENAME = "call the stack or its service otherwise"
