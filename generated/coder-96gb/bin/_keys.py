"""Keys in files: the servers' one, and those of the gateway's clients. None is ever printed.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

from pathlib import Path

from _stack import EXIT_ENVIRONMENT, StackError


def read_api_key(path: Path) -> str:
    """The one key of a file."""
    return _usable(_read(path, "API key").strip(), path)


def read_client_key(path: Path) -> str:
    """The first key of a file with `KEY` or `NAME:KEY` on each line."""
    lines = (line.strip() for line in _read(path, "client key").splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return _usable((first.partition(":")[2] if ":" in first else first).strip(), path)


def _read(path: Path, title: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
        raise StackError(EXIT_ENVIRONMENT, f"cannot read the {title} file {path}: {reason}") from None


def _usable(key: str, path: Path) -> str:
    if not key.isprintable() or not key or " " in key:
        raise StackError(EXIT_ENVIRONMENT, f"{path} does not hold one key on one line")
    return key
