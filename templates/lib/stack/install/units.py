"""Whose the names are that the units of a stack take in systemd.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

from stack import StackError
from stack.install.host import EXIT_UNIT, UNITS
from stack.install.versions import Site

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
