"""Models that are folders on this machine: read as the Hub's repositories are, without a commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from compiler.lock.models import FOLDER, ModelFacts
from compiler.resolve.answers import (
    ConfigError,
    ListedFile,
    MalformedError,
    MissingError,
    Reader,
    Repository,
    TooLargeError,
    plain,
)
from compiler.resolve.limits import most_of
from compiler.resolve.reading.defaults import CHAT_TEMPLATES
from compiler.resolve.reading.facts import read_facts
from compiler.source.files import open_file


def is_folder(model: str) -> bool:
    """Whether a spec's `model` is a path and not the name of a repository."""
    return model.startswith("/")


def folder_facts(model: str, copy: Path | None = None) -> ModelFacts:
    """Facts of a folder.

    Args:
        model: its absolute path on the server, by which the facts call it.
        copy: where a copy of it lies on this machine, which is read instead; the facts say nothing of it.

    Raises:
        SourceError: there is no such folder, or it holds no model.
    """
    repository, reader = opened_folder(model, Path(model) if copy is None else copy, _described)
    try:
        return read_facts(repository, reader)
    except MalformedError as error:
        # A file on this machine will not be better the next time, as an answer from the Hub may be.
        raise ConfigError(error.message, error.notes, error.helps) from error


def opened_folder(model: str, folder: Path, find: Callable[[Path], Iterator[Path]]) -> tuple[Repository, Reader]:
    """A folder as a repository: what is listed of it, and who reads its files.

    Args:
        model: its absolute path on the server.
        folder: where it, or a copy of it, lies on this machine.
        find: gives what is to be listed.

    Raises:
        SourceError: there is no such folder, or it cannot be read.
    """
    try:
        paths = [path for path in find(folder) if path.is_file()]
        files = tuple(ListedFile(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths)
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"there is no folder `{model}` on this machine"
        help_ = f"where it lies on the server alone, lock a copy: `stackc lock --folder {model}=COPY`"
        raise MissingError(message, (), (help_,)) from error
    except OSError as error:
        raise ConfigError(f"the folder `{model}` cannot be read", (error.strerror or type(error).__name__,)) from error
    return Repository(model, FOLDER, files=files), _FolderReader(folder)


def _described(folder: Path) -> Iterator[Path]:
    """Files that say something about a model; nothing deeper is looked at."""
    yield from sorted(folder.iterdir())
    yield from sorted((folder / CHAT_TEMPLATES).glob("*.jinja"))
    yield from sorted(folder.glob("*/config.json"))


def gguf_files(folder: Path) -> Iterator[Path]:
    """GGUF files at the root and in folders of it, as the Hub's repositories have them."""
    yield from sorted(path for path in folder.iterdir() if path.suffix.lower() == ".gguf")
    yield from sorted(path for path in folder.glob("*/*") if path.suffix.lower() == ".gguf")


@dataclass(frozen=True, slots=True)
class _FolderReader:
    folder: Path

    def read(self, path: str) -> bytes | None:
        most = most_of(path)
        content = self.read_range(path, 0, most + 1)
        if content is not None and len(content) > most:
            raise TooLargeError(
                f"`{plain(path)}` is larger than any such file", (f"no more than {most} bytes are read",)
            )
        return content

    def take(self, size: int) -> None:
        """Folders are read one after another."""

    def read_range(self, path: str, start: int, stop: int) -> bytes | None:
        try:
            with open_file(self.folder / path) as file:
                file.seek(start)
                return file.read(stop - start)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"`{path}` cannot be read", (error.strerror or type(error).__name__,)) from error
