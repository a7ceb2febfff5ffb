"""What an output holds: of the disk as it is, or of a commit of the repository that it lies in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from compiler.emit.library import STORE, linked_library
from compiler.emit.owned import is_folder
from compiler.source.files import NoFileError, TooLargeError, read_file
from compiler.source.scan import existing_files

# Nothing that stackc writes is near it.
_MAX_FILE = 64 << 20
_PATIENCE = 60.0
# Of git's modes: 100644 and 100755, and 120000.
_FILE, _LINK = b"100", b"120"


class NoHistoryError(Exception):
    """A commit cannot be read. The message says why, and `remedy` what helps."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def files_on_disk(output: Path, trees: Iterable[str]) -> dict[str, bytes]:
    """Content by path below the output, of the trees with these names, with what their links to libraries lead to.

    Other links and whatever is no file are passed over.

    Raises:
        OSError: a folder cannot be read.
    """
    found: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for name in (name for name in (*trees, STORE) if is_folder(output / name)):
        for path in existing_files(output / name):
            try:
                if (output / name / path).is_symlink():
                    links[f"{name}/{path}"] = str((output / name / path).readlink())
                else:
                    found[f"{name}/{path}"] = read_file(output / name / path, _MAX_FILE)
            except (FileNotFoundError, NoFileError, TooLargeError, PermissionError):
                continue
    return _through_links(found, links)


def _through_links(files: Mapping[str, bytes], links: Mapping[str, str]) -> dict[str, bytes]:
    """The files of trees, as in copies that follow the links to libraries; the libraries themselves are left out."""
    libraries: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        store, _, below = path.partition("/")
        if store == STORE:
            library, _, rest = below.partition("/")
            libraries.setdefault(library, {})[rest] = content
    found = {path: content for path, content in files.items() if not path.startswith(f"{STORE}/")}
    for path, text in links.items():
        tree, _, place = path.partition("/")
        name = linked_library(PurePosixPath(place), text) if tree != STORE else None
        found |= {f"{path}/{rest}": content for rest, content in libraries.get(name or "", {}).items()}
    return found


def files_at(ref: str, output: Path) -> dict[str, bytes]:
    """Content by path below the output, as `files_on_disk`, but of a commit. No filter and no hook runs.

    Raises:
        NoHistoryError: there is no git, no repository, no such commit, or no such folder in it.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 - links stay as git has them
    where = next(folder for folder in (output, *output.parents) if folder.is_dir())
    top = Path(_line(_git(where, "rev-parse", "--show-toplevel")))
    # `ref` is a word of the command line: never an option.
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    commit = _line(_git(where, *asked, otherwise=f"`{ref}` is no commit of {top}"))
    inside = Path(os.path.realpath(where)).joinpath(output.relative_to(where)).relative_to(os.path.realpath(top))
    tree = commit if inside == Path() else f"{commit}:{inside.as_posix()}"
    listed = _git(where, "ls-tree", "-r", "-z", "--full-tree", tree, otherwise=f"{ref} has no folder {inside}")
    contents = {mode: dict(_contents(where, list(_blobs(listed, mode)))) for mode in (_FILE, _LINK)}
    return _through_links(contents[_FILE], {path: os.fsdecode(text) for path, text in contents[_LINK].items()})


def _line(output: bytes) -> str:
    return os.fsdecode(output).rstrip("\n")


def _blobs(listed: bytes, mode: bytes) -> Iterator[tuple[str, str]]:
    """Path and object of each entry of `git ls-tree -z` whose mode begins so; never of a submodule."""
    for entry in listed.split(b"\0"):
        head, _, path = entry.partition(b"\t")
        if head.startswith(mode):
            yield os.fsdecode(path), head.split(b" ")[2].decode()


def _contents(where: Path, blobs: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """One process for all: `git show` for each of five hundred files takes seconds."""
    wanted = "".join(f"{name}\n" for _, name in blobs).encode()
    answer, position = _git(where, "cat-file", "--batch", given=wanted), 0
    for path, name in blobs:
        end = answer.index(b"\n", position)
        head = answer[position:end].split(b" ")
        if head[-1] == b"missing":
            raise NoHistoryError(f"git has no object {name} of {path}", "fetch the whole history (`fetch-depth: 0`)")
        size = int(head[2])
        yield path, answer[end + 1 : end + 1 + size]
        position = end + 1 + size + 1


def _git(where: Path, *words: str, given: bytes = b"", otherwise: str | None = None) -> bytes:
    # A clone without blobs would fetch them one by one, and no command but `lock` goes online.
    env = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-C", str(where), *words]
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False, env=env, timeout=_PATIENCE)
    except FileNotFoundError as error:
        raise NoHistoryError("there is no git here", "install git, or leave `--against` out") from error
    except subprocess.TimeoutExpired as error:
        raise NoHistoryError(f"git did not answer within {_PATIENCE:.0f} s", "try `git status` there") from error
    if done.returncode == 0:
        return done.stdout
    said = os.fsdecode(done.stderr).strip().splitlines()
    message = otherwise or f"{where} is in no repository that git can read"
    if said and otherwise is None:
        message += f" ({said[0][:200]})"
    raise NoHistoryError(message, "commit the generated trees first, fetch the ref, or leave `--against` out")
