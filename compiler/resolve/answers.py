"""What a source of models answers, before anything is judged, and the ways in which it can fail to answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from compiler.lock.names import CONTROL

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a repository, by its path from the root."""

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """One answer about a repository or folder as a whole.

    Attributes:
        name: its own name, which differs from the one asked for where the repository was renamed.
        source: as the lock records it.
        branch: None is `main`.
        commit: as answered; None for a folder.
        files: None where the source did not list them.
        license_name: the card's name of a licence whose identifier is `other`.
    """

    name: str
    source: str
    branch: str | None = None
    commit: str | None = None
    gated: Literal[False, "auto", "manual"] = False
    license: str | None = None
    license_name: str | None = None
    base_models: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    tags: tuple[str, ...] = ()
    files: tuple[ListedFile, ...] | None = None

    def has(self, path: str, *, unlisted: bool = False) -> bool:
        """Whether the listing has a file; `unlisted` is the answer where there is no listing."""
        return unlisted if self.files is None else any(file.path == path for file in self.files)


class Reader(Protocol):
    """Reads files of one repository at one commit."""

    def read(self, path: str) -> bytes | None:
        """A small file; None where it does not exist."""

    def read_range(self, path: str, start: int, stop: int) -> bytes | None:
        """Bytes from `start` up to `stop` or the file's end; None where it does not exist."""

    def take(self, size: int) -> None:
        """Account for bytes that will be held until the facts are read; it may raise TooLargeError."""


@dataclass
class SourceError(Exception):
    """A question that got no usable answer, told so that it can become a diagnostic.

    Attributes:
        message: one line.
        notes: what was asked and what came back.
        helps: what the user can do.
    """

    message: str
    notes: tuple[str, ...] = ()
    helps: tuple[str, ...] = field(default=())

    code: ClassVar[str] = "E0311"

    def __str__(self) -> str:
        return self.message


class UnavailableError(SourceError):
    """Network, server or rate limit: the same question may be answered later."""


class MalformedError(SourceError):
    """An answer came, and it is not what it should be."""


class MissingError(SourceError):
    """There is no such repository, revision or folder."""

    code: ClassVar[str] = "E0310"


class GoneError(MissingError):
    """The repository exists, and this commit or branch of it does not."""


class UnknownNameError(MissingError):
    """The Hub has no repository of this name; another spelling may be meant."""


class AccessError(SourceError):
    """It exists, and this user may not read it."""

    code: ClassVar[str] = "E0312"


class ClearTextError(AccessError):
    """A token would be readable on its way."""

    code: ClassVar[str] = "E0314"


class ConfigError(SourceError):
    """The repository was read, and does not describe a model."""

    code: ClassVar[str] = "E0309"


class TooLargeError(SourceError):
    """The repository holds more than is read of any."""

    code: ClassVar[str] = "E0313"


def plain(text: object) -> str:
    """Text from outside as one short line that cannot control a terminal."""
    line = " ".join(CONTROL.sub(" ", str(text)).split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def without_controls(text: str) -> str:
    """Text from outside, whole, with its control characters replaced."""
    return CONTROL.sub("\ufffd", text)
