"""Keys in files: the servers' one, and those of the gateway's clients. None is ever printed.

One rule for all programs; those in bash state it alike. A file is a regular file of at most 1 MiB, without a NUL byte
and without a byte order mark; its lines end with LF or CRLF, the last with or without. A key is 8 to 256 letters,
digits and ._~+/=- : what a Bearer header may carry (RFC 6750), and no language of the stack must quote. Shorter ones
can be guessed, longer ones outgrow the headers that a proxy takes.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import re
import resource
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple, TypeVar

from stack import EXIT_ENVIRONMENT, StackError

MAX_BYTES = 1 << 20
MAX_LINE = 63 + 1 + 256  # a name, a colon and a key
KEY = re.compile(r"[A-Za-z0-9._~+/=-]{8,256}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
PASSED_OVER = re.compile(r"[ \t\v\f\r]*(#.*)?")
KEY_RULE = "a key is 8 to 256 letters, digits and ._~+/=-, as `openssl rand -hex 32` makes it"
NAME_RULE = "a client's name is 1 to 63 letters, digits, dots, dashes and underscores"
_Read = TypeVar("_Read")
BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


class BadKeys(Exception):  # noqa: N818 (it says what is wrong with a file)
    """What is wrong with a file of keys; the text holds nothing of what the file holds."""


class KeyFile(NamedTuple):
    """The lines of a file, and its mode."""

    lines: list[str]
    mode: int


def read_api_key(path: Path) -> str:
    """The one key of a file."""
    return _or_end(path, _one_key)


def read_client_key(path: Path, limited: Collection[str] = ()) -> str:
    """The key alone of what `read_client` finds."""
    return read_client(path, limited)[1]


def read_client(path: Path, limited: Collection[str] = ()) -> tuple[str, str]:
    """Name and key of a client in a file with `KEY` or `NAME:KEY` on each line: the first that no limits are for."""
    owners = _or_end(path, _clients_keys)
    key = next((key for key, name in owners.items() if name not in limited), next(iter(owners)))
    return owners[key], key


def _or_end(path: Path, read: Callable[[list[str]], _Read]) -> _Read:
    try:
        return read(read_file(path).lines)
    except (BadKeys, PermissionError) as problem:
        reason = f"cannot read it: {problem.strerror}" if isinstance(problem, OSError) else str(problem)
        raise StackError(EXIT_ENVIRONMENT, f"{path}: {reason}") from None


def read_file(path: Path) -> KeyFile:
    """The lines, from a file that can have some: nothing waits for a pipe, and nothing endless is read."""
    # Whoever has read a key leaves no image of its memory behind.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise BadKeys(_unreadable(path, error)) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise BadKeys("it is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return KeyFile(_lines(file.read(MAX_BYTES + 1)), mode)
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    # A socket cannot even be opened.
    if isinstance(error, OSError) and not path.exists():
        return f"cannot read it: {error.strerror}"
    return "it is no regular file"


def _lines(data: bytes) -> list[str]:
    if data.startswith(BYTE_ORDER_MARKS):
        raise BadKeys("it begins with a byte order mark: save it as plain ASCII, without one")
    if b"\0" in data[:MAX_BYTES]:
        raise BadKeys("it holds a NUL byte")
    if len(data) > MAX_BYTES:
        raise BadKeys(f"it is longer than {MAX_BYTES} bytes")
    if not data:
        raise BadKeys("it is empty: it holds no key")
    lines = data.decode("latin-1").split("\n")
    lines = lines if lines[-1] else lines[:-1]
    return [line[:-1] if line.endswith("\r") else line for line in lines]


def keys_of(file: KeyFile, *, is_list: bool) -> list[str]:
    """The keys of a file: those of clients, or the one that all servers share.

    Raises:
        BadKeys: the file cannot be meant.
    """
    return list(_clients_keys(file.lines)) if is_list else [_one_key(file.lines)]


def check_clients(lines: list[str]) -> None:
    """Whether the gateway can use the lines of a file.

    Raises:
        BadKeys: it cannot.
    """
    _clients_keys(lines)


def client_of(number: int, line: str) -> str | None:
    """Whose key a line holds; None for an empty one and for a comment."""
    if PASSED_OVER.fullmatch(line):
        return None
    name, colon, _ = line.partition(":")
    return name if colon else f"client-{number}"


def _one_key(lines: list[str]) -> str:
    if len(lines) > 1:
        raise BadKeys(f"it has {len(lines)} lines, and must hold one key on one line")
    return _key(lines[0], 1)


def _clients_keys(lines: list[str]) -> dict[str, str]:
    """Keys in their order, with whose they are."""
    owners: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if PASSED_OVER.fullmatch(line):
            continue
        name, colon, rest = line.partition(":")
        if len(line) > MAX_LINE:
            raise BadKeys(f"line {number}: a line that is no key: {KEY_RULE}")
        if colon and not NAME.fullmatch(name):
            raise BadKeys(f"line {number}: {NAME_RULE}")
        key = _key(rest if colon else line, number)
        if key in owners:
            raise BadKeys(f"line {number}: the same key as that of {owners[key]}")
        owners[key] = name if colon else f"client-{number}"
    if not owners:
        raise BadKeys("it holds no key: nobody could use the gateway")
    return owners


def _key(line: str, number: int) -> str:
    if not KEY.fullmatch(line):
        raise BadKeys(f"line {number}: a line that is no key: {KEY_RULE}")
    return line
