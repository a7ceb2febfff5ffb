"""Python packages that a stack installs, each with the hashes of its wheels: written by `tools/lock_packages.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

LITELLM_VERSION = "1.106.2"
"""The release of LiteLLM whose configuration is emitted, and that the tests run."""

LITELLM_REQUIREMENT = f"litellm[proxy]=={LITELLM_VERSION}"
"""As pip takes it."""

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?))?(?: \\)?", re.ASCII
)
_HASH = re.compile(r"    --hash=sha256:(?P<digest>[0-9a-f]{64})(?: \\)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Package:
    """One package at one version.

    Attributes:
        marker: where it is installed, as PEP 508 has it; None for everywhere.
        hashes: SHA-256 of every wheel that a machine may take.
    """

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Requirements:
    """What is installed into one virtual environment. `text` is the file for pip, `root` what it was made for."""

    root: str
    text: str
    packages: tuple[Package, ...]


@cache
def litellm_requirements() -> Requirements:
    """Those of LiteLLM's proxy."""
    folder = files("compiler.catalog") / "gateways" / f"litellm-{LITELLM_VERSION}"
    found = read_requirements(folder, LITELLM_REQUIREMENT)
    if found is None:
        raise RuntimeError(f"this copy of stackc lacks the packages of LiteLLM {LITELLM_VERSION}")
    return found


def read_requirements(folder: Traversable, root: str) -> Requirements | None:
    """Those of a folder's requirements.txt; None where it has none.

    Args:
        root: what they were made for, as pip takes it.
    """
    try:
        text = (folder / "requirements.txt").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return Requirements(root, text, parse_requirements(text))


def parse_requirements(text: str) -> tuple[Package, ...]:
    """The packages of a file in the form that `tools/lock_packages.py` writes.

    Raises:
        ValueError: a line has another form, or a package has no hash.
    """
    found: list[Package] = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if (digest := _HASH.fullmatch(line)) is not None and found:
            last = found.pop()
            found.append(Package(last.name, last.version, last.marker, (*last.hashes, digest["digest"])))
        elif (pin := _PIN.fullmatch(line)) is not None:
            found.append(Package(pin["name"], pin["version"], pin["marker"], ()))
        else:
            raise ValueError(f"not a pin with hashes: {line}")
    bare = [package.name for package in found if not package.hashes]
    if bare:
        raise ValueError(f"without a hash: {', '.join(bare)}")
    return tuple(found)
