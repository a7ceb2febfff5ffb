"""Where an output must not be. It is refused before anything is compiled, whatever else the command line says.

Places are compared by what they are (device and inode), not by how they are spelled: a link, `..`, a second mount of
the same folder or another case of the same letters leads to the same answer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from compiler.emit.library import is_library, is_store
from compiler.emit.owned import is_folder, is_own
from compiler.render.environment import template_folder
from compiler.source.user_file import SPECS

# All compared with and never used, which is what S108 asks about.
# Folders of the system, in which nothing is anybody's output, and those that hold what others have put there: an output
# may be below these, but not be one of them.
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")
_SHARED = (
    *("/", "/dev/shm", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/usr/src"),  # noqa: S108
    *("/var", "/var/cache", "/var/lib", "/var/log", "/var/opt", "/var/spool", "/var/tmp", "/var/www"),  # noqa: S108
)
_WITHIN_SYSTEM = ("/dev/shm", "/usr/local", "/usr/src")  # noqa: S108
_REPOSITORIES = (".git", ".hg", ".svn", ".jj", ".bzr")

_LINKS = 40  # as many as the kernel follows

_Identity = tuple[int, int]


def refusal(output: Path, inputs: Iterable[Path]) -> str | None:
    """Why nothing may be written to an output; None where it may.

    Args:
        inputs: files and folders that the run reads: specs, locks, calibrations, templates.
    """
    _identity.cache_clear()
    _chain.cache_clear()
    real = _real(output)
    reasons = (*_of_inputs(real, tuple(inputs)), *_of_itself(real), *_of_the_machine(real))
    return reasons[0] if reasons else None


def _of_inputs(output: Path, inputs: Iterable[Path]) -> Iterator[str]:
    if _holds(output, Path.cwd()):
        yield "the working folder is in it"
    for path in inputs:
        if any(_holds(output, each) for each in _names(path)):
            yield f"{path} is in it, which this run reads"
        is_folder_itself = os.path.isdir(path)  # noqa: PTH112 - Path's raises for a name that is too long
        folder = path if is_folder_itself else path.parent
        if (is_folder_itself or folder.name == SPECS) and _holds(_real(folder), output):
            yield f"it is in {folder}, which this run reads"
    if _holds(_real(Path(SPECS)), output):
        yield f"it is in {SPECS}, where specs are"
    for folder in (_CODE, template_folder()):
        if _holds(output, folder) or _holds(folder, output):
            yield "stackc itself is there"


_CODE = Path(__file__).resolve().parents[1]


def _of_itself(output: Path) -> Iterator[str]:
    for name in _REPOSITORIES:
        if os.path.lexists(output / name):
            yield f"it holds {name}"
        if name in output.parts:
            yield f"it is in a {name}"
    if is_folder(output / SPECS) and not is_own(output / SPECS) and any((output / SPECS).glob("*.yaml")):
        yield f"it holds {SPECS}, where specs are"
    for folder in (output, *output.parents):
        if is_own(folder):
            yield f"{folder} is a tree that stackc wrote, and is replaced as a whole"
        if is_library(folder) or is_store(folder):
            yield f"{folder} is what trees share, which stackc wrote and removes when no tree needs it"


def _of_the_machine(output: Path) -> Iterator[str]:
    shared, system, open_ones = map(_real_folders, (_SHARED, _SYSTEM, _WITHIN_SYSTEM))
    for folder in (*shared, *system):
        if _holds(output, folder):
            yield f"it is {folder}, a folder of the system, or holds it"
    within = any(_holds(folder, output) for folder in open_ones)
    for folder in system:
        if not within and _holds(folder, output):
            yield f"it is in {folder}, a folder of the system"
    for home in _homes():
        if _holds(output, _real(home)):
            yield f"it is the home folder {home}, or holds it"
    if output.parent == Path("/home"):
        yield "it is a home folder"
    if os.path.ismount(output):
        yield "it is a mount point: a whole file system"


@cache  # nobody moves the system's own folders while a program runs
def _real_folders(folders: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(_real(Path(folder)) for folder in folders)


def _homes() -> Iterator[Path]:
    """Of all users that the system lists, and of whoever runs this."""
    with contextlib.suppress(RuntimeError, OSError):
        yield Path.home()
    with contextlib.suppress(ImportError, OSError):
        import pwd  # noqa: PLC0415 - not on every system

        yield from {Path(user.pw_dir) for user in pwd.getpwall() if user.pw_dir.startswith("/")}


def _names(path: Path) -> Iterator[Path]:
    """Every name by which a path is reached: a link is an input as much as what it leads to."""
    for _ in range(_LINKS):
        yield _real(path.parent) / path.name
        if not os.path.islink(path):  # noqa: PTH114 - as above
            return
        path = path.parent / path.readlink()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _holds(folder: Path, path: Path) -> bool:
    """Whether `path` is `folder` or below it; neither is followed further."""
    paths, identities = _chain(str(path))
    return str(folder) in paths or _identity(str(folder)) in identities


@cache  # of one refusal: every folder is compared with the output and all that it lies in
def _chain(path: str) -> tuple[tuple[str, ...], frozenset[_Identity]]:
    """A path and all that it lies in: how they are spelled, and what they are, as far as they are there."""
    above = os.path.dirname(path)  # noqa: PTH120 - a hundred paths are compared, and objects are slow to make
    paths, identities = ((), frozenset[_Identity]()) if above == path else _chain(above)
    own = _identity(path)
    return (path, *paths), identities if own is None else identities | {own}


@cache
def _identity(path: str) -> _Identity | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
