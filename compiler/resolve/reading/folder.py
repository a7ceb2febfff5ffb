"""Models that are folders on this machine: read as the Hub's repositories are, without a commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compiler.lock.models import FOLDER, ModelFacts
from compiler.resolve.answers import (
    ConfigError,
    ListedFile,
    MalformedError,
    MissingError,
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
    folder = Path(model) if copy is None else copy
    try:
        files = _listed(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"there is no folder `{model}` on this machine"
        help_ = f"where it lies on the server alone, lock a copy: `stackc lock --folder {model}=COPY`"
        raise MissingError(message, (), (help_,)) from error
    except OSError as error:
        raise ConfigError(f"the folder `{model}` cannot be read", (error.strerror or type(error).__name__,)) from error
    try:
        return read_facts(Repository(model, FOLDER, files=files), _FolderReader(folder))
    except MalformedError as error:
        # A file on this machine will not be better the next time, as an answer from the Hub may be.
        raise ConfigError(error.message, error.notes, error.helps) from error


def _listed(folder: Path) -> tuple[ListedFile, ...]:
    """Files that say something about a model; nothing deeper is looked at."""
    found = (
        *sorted(folder.iterdir()),
        *sorted((folder / CHAT_TEMPLATES).glob("*.jinja")),
        *sorted(folder.glob("*/config.json")),
    )
    return tuple(
        ListedFile(path.relative_to(folder).as_posix(), path.stat().st_size) for path in found if path.is_file()
    )


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
