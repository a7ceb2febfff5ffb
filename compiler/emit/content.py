"""What an output holds: of the disk as it is, or of a commit of the repository that it lies in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from compiler.emit.owned import is_folder
from compiler.source.files import NoFileError, TooLargeError, read_file
from compiler.source.scan import existing_files

# Nothing that stackc writes is near it.
_MAX_FILE = 64 << 20
_PATIENCE = 60.0


class NoHistoryError(Exception):
    """A commit cannot be read. The message says why, and `remedy` what helps."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def files_on_disk(output: Path, trees: Iterable[str]) -> dict[str, bytes]:
    """Content by path below the output, of the trees with these names. Links and whatever is no file are passed over.

    Raises:
        OSError: a folder cannot be read.
    """
    found: dict[str, bytes] = {}
    for name in filter(lambda name: is_folder(output / name), trees):
        for path in existing_files(output / name):
            try:
                if not (output / name / path).is_symlink():
                    found[f"{name}/{path}"] = read_file(output / name / path, _MAX_FILE)
            except (FileNotFoundError, NoFileError, TooLargeError, PermissionError):
                continue
    return found


def files_at(ref: str, output: Path) -> dict[str, bytes]:
    """Content by path below the output, as a commit has it. Nothing is checked out, and no filter or hook runs.

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
    return dict(_contents(where, list(_blobs(listed))))


def _line(output: bytes) -> str:
    return os.fsdecode(output).rstrip("\n")


def _blobs(listed: bytes) -> Iterator[tuple[str, str]]:
    """Path and object of each plain file of `git ls-tree -z`."""
    for entry in listed.split(b"\0"):
        head, _, path = entry.partition(b"\t")
        if head.startswith(b"100"):  # no links and no submodules
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
