"""Models in GGUF files: their headers are read by parts, as far as they go, and their data never."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from compiler.gguf.error import GgufError
from compiler.gguf.header import Header, HeaderParser
from compiler.gguf.input import MAX_HEADER
from compiler.gguf.join import PROJECTOR, check_model, joined
from compiler.gguf.model import Value
from compiler.gguf.sets import File, FileSet, FileSets, file_sets
from compiler.lock.gguf import GgufFile, GgufProjector, of_model, of_projector
from compiler.lock.models import ModelFacts
from compiler.lock.names import is_path
from compiler.resolve.answers import (
    ConfigError,
    ListedFile,
    MalformedError,
    MissingError,
    Reader,
    Repository,
    TooLargeError,
    plain,
    without_controls,
)
from compiler.resolve.limits import GGUF_GROWTH, GGUF_PIECE, MAX_GGUF_PIECE
from compiler.resolve.reading.card import card_fields, unconfirmed_facts
from compiler.resolve.reading.folder import gguf_files, is_folder, opened_folder


class RepositorySets:
    """Models in GGUF files of one repository; a projector is read once, before the first that is served with it."""

    def __init__(self, repository: Repository, reader: Reader) -> None:
        """Sort the files that are listed; nothing is read yet.

        Raises:
            ConfigError: none of them is a model.
        """
        self.repository = repository
        self.sets = sets_in(repository)
        self._reader = reader
        self._lock = threading.Lock()
        self._projectors: dict[str, GgufProjector | ConfigError] = {}

    def named(self, path: str) -> FileSet:
        """The model whose first file has this path.

        Raises:
            MissingError: there is none.
        """
        found = next((each for each in self.sets.sets if each.path == path), None)
        if found is not None:
            return found
        part_of = next((each for each in self.sets.sets if any(file.path == path for file in each.files)), None)
        helps = (f"name its first part, `{plain(part_of.path)}`",) if part_of is not None else ()
        notes = (f"it {plain(self.sets.incomplete[path])}",) if path in self.sets.incomplete else ()
        raise MissingError(f"`{plain(self.repository.name)}` has no model `{plain(path)}`", notes, helps)

    def read(self, chosen: FileSet) -> ModelFacts:
        """Facts of one of them; see `read_set`."""
        return read_set(self.repository, self._reader, chosen, self._projector_of(chosen))

    def _projector_of(self, chosen: FileSet) -> GgufProjector | None:
        file = self.sets.projector_of(chosen)
        if file is None:
            return None
        with self._lock:
            if file.path not in self._projectors:
                self._projectors[file.path] = _tried(self._reader, file)
        found = self._projectors[file.path]
        if isinstance(found, ConfigError):
            raise found
        return found


def _tried(reader: Reader, file: File) -> GgufProjector | ConfigError:
    try:
        return read_projector(reader, file)
    except ConfigError as error:
        return error


def folder_sets(model: str, copy: Path | None = None) -> RepositorySets:
    """Models in GGUF files of a folder, or of the folder in which a file lies.

    Args:
        model: the absolute path of the folder or of the file on the server.
        copy: where a copy of the folder lies on this machine.

    Raises:
        SourceError: there is no such folder, or it holds no model in GGUF files.
    """
    folder = Path(model).parent if is_gguf_file(model) else Path(model)
    return RepositorySets(*opened_folder(model, copy or folder, gguf_files))


def is_gguf_file(model: str) -> bool:
    """Whether a spec's `model` is the path of a GGUF file on the server."""
    return is_folder(model) and model.lower().endswith(".gguf")


class NoGgufError(ConfigError):
    """A place without any GGUF file."""


def sets_in(repository: Repository) -> FileSets:
    """Models in GGUF files that a repository lists.

    Raises:
        ConfigError: it lists none, or a name that is none for weights.
    """
    files = [File(file.path, file.size, file.sha256) for file in repository.files or ()]
    found = file_sets(files)
    if not found.sets and not found.incomplete:
        note = "llama.cpp loads models in files that are called `.gguf`"
        raise NoGgufError(f"`{plain(repository.name)}` holds no model in GGUF files", (note,))
    paths = [file.path for each in found.sets for file in each.files] + [file.path for file in found.projectors]
    odd = next((path for path in (*paths, *found.incomplete) if not is_path(path)), None)
    if odd is not None:
        note = "a name of weights is plain: it does not start with a dash or a dot, and has no control characters"
        message = f"`{plain(repository.name)}` has weights in `{plain(odd)}`, which is no name for them"
        raise ConfigError(message, (note,))
    return found


def read_set(
    repository: Repository, reader: Reader, chosen: FileSet, projector: GgufProjector | None = None
) -> ModelFacts:
    """Facts of one model: the headers of all its files are read, and held against each other and the listed sizes.

    Raises:
        ConfigError: llama.cpp would not load it.
        SourceError: it could not be read.
    """
    headers = [_read_header(reader, file) for file in chosen.files]
    try:
        model = joined(headers)
        check_model(model)
    except GgufError as error:
        raise _refused(chosen.path, error) from error
    templates = headers[0].templates
    files = [_locked(file) for file in chosen.files]
    try:
        facts = of_model(replace(model, keys=_clean(model.keys)), files, projector)
    except ValueError as error:
        raise TooLargeError(f"`{plain(chosen.path)}` has more kinds of tensors than any model") from error
    return ModelFacts(
        **card_fields(repository),
        kind="gguf",
        gguf=facts,
        chat_template=chosen.path if "" in templates else None,
        named_templates=tuple(plain(name) for name in templates if name),
        config={},
        unconfirmed=unconfirmed_facts(repository, [_listed(file) for file in chosen.files]),
    )


def read_projector(reader: Reader, file: File) -> GgufProjector:
    """Facts of the file that makes embeddings of images or sounds.

    Raises:
        ConfigError: it is something else, or llama.cpp would not load it.
        SourceError: it could not be read.
    """
    header = _read_header(reader, file)
    if header.keys.get("general.architecture") != PROJECTOR:
        raise _refused(file.path, GgufError("it is called a projector, and is none", "key `general.architecture`"))
    try:
        return of_projector(_locked(file), replace(header, keys=_clean(header.keys)))
    except ValueError as error:
        raise TooLargeError(f"`{plain(file.path)}` has more kinds of tensors than any projector") from error


def _read_header(reader: Reader, file: File) -> Header:
    """In growing pieces: tensors come after the vocabulary, and nothing says beforehand how long that is."""
    parser, start, piece = HeaderParser(file.size), 0, GGUF_PIECE
    while True:
        stop = start + piece if file.size is None else min(start + piece, file.size)
        content = reader.read_range(file.path, start, stop) if stop > start else b""
        if content is None:
            raise MalformedError(f"`{plain(file.path)}` is listed and not given")
        try:
            found = parser.feed(content)
        except GgufError as error:
            raise _refused(file.path, error) from error
        if isinstance(found, Header):
            return found
        if len(content) < piece and start + len(content) < MAX_HEADER:
            raise _refused(file.path, GgufError("the file ends inside its header", f"byte {start + len(content)}"))
        start, piece = start + len(content), min(piece * GGUF_GROWTH, MAX_GGUF_PIECE)


def _refused(path: str, error: GgufError) -> ConfigError:
    return ConfigError(
        f"llama.cpp does not load `{plain(path)}`: {error}",
        ("its header was read and held against the size of the file",),
        ("name another file, or another repository",),
    )


def _locked(file: File) -> GgufFile:
    return GgufFile(path=file.path, size=file.size, sha256=file.sha256)


def _listed(file: File) -> ListedFile:
    return ListedFile(file.path, file.size, file.sha256)


def _clean(keys: Mapping[str, Value]) -> Mapping[str, Value]:
    """Texts without control characters, as a lock holds them."""
    return {key: _clean_value(value) for key, value in keys.items()}


def _clean_value(value: Value) -> Value:
    if isinstance(value, tuple):
        return tuple(without_controls(item) if isinstance(item, str) else item for item in value)
    return without_controls(value) if isinstance(value, str) else value
