"""How the programs that this machine runs itself are installed: pinned, with the hash of every file.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

from pathlib import Path

import stack

PIP_OPTIONS = "--no-cache-dir --require-hashes --only-binary :all: --no-deps"


def installing(name: str, version: str, folder: Path | None) -> str:
    """What to do where a program is missing or another release. `folder` is its virtual environment, if known."""
    file = stack.TREE / "lib" / "requirements" / f"{name}-{version}.txt"
    page = "README.md of this tree, under Install, has the commands"
    if not file.is_file():
        return f"install {name} {version}; {page}"
    pip = "pip" if folder is None else f"{folder}/bin/pip"
    return f"`{pip} install {PIP_OPTIONS} -r {file}`, as a user without rights in a new virtual environment; {page}"


def environment_of(program: str) -> Path | None:
    """The virtual environment of a program; None where it lies in none by its path."""
    path = Path(program)
    return path.parent.parent if path.is_absolute() and path.parent.name == "bin" else None
