"""Which files of a repository make one model: by their names, before any of them is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from compiler.gguf.file_types import label_of

MAX_PARTS: Final = 1024
"""Files of one model; the largest published have some 30 of 50 GB."""

_SUFFIX = ".gguf"
# As llama.cpp makes the names of the other parts from that of the first (src/llama.cpp:llama_split_path, b10435).
_PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.ASCII | re.DOTALL)
# common/download.cpp:gguf_filename_is_model, b10435.
_PROJECTOR = "mmproj"
_SIDES = ("imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
# A small model that guesses ahead for the large one beside it; alone in its repository, it is the model.
_DRAFT = re.compile(r"(?:^|[-_.])draft(?:[-_.]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is listed.

    Attributes:
        path: from the root of its repository.
        size: bytes; None where nobody said.
        sha256: None likewise.
    """

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class FileSet:
    """Files that are one model, in the order of their numbers. The first is the one that llama.cpp is given."""

    files: tuple[File, ...]

    @property
    def path(self) -> str:
        """Of the first file, by which the set is called."""
        return self.files[0].path

    @property
    def label(self) -> str | None:
        """The method that its name speaks of: a hint."""
        return label_of(_stem(self.path))


@dataclass(frozen=True, slots=True)
class FileSets:
    """What a repository holds.

    Attributes:
        sets: whole ones, by path.
        projectors: files that turn images or sounds into embeddings, the one to take first.
        incomplete: what is wrong with a set that lacks parts, by the path that its first part has.
    """

    sets: tuple[FileSet, ...] = ()
    projectors: tuple[File, ...] = ()
    incomplete: Mapping[str, str] = field(default_factory=dict)

    def projector_of(self, chosen: FileSet) -> File | None:
        """The one to take with a model: it lies in the model's folder or in one around it, the nearest first.

        As llama.cpp looks for one itself (common/download.cpp, find_best_sibling, b10435), but that among those of one
        folder it takes the one of nearly as many bits as the model's.
        """
        folder = PurePosixPath(chosen.path).parent
        around = [each for each in self.projectors if folder.is_relative_to(PurePosixPath(each.path).parent)]
        return max(around, key=lambda each: each.path.count("/"), default=None)


def file_sets(files: Iterable[File]) -> FileSets:
    """Sort files into sets. What is not called `.gguf`, and what stands beside models, is left out."""
    known = [file for file in files if file.path.lower().endswith(_SUFFIX)]
    projectors = [file for file in known if _PROJECTOR in _name(file)]
    weights = [file for file in known if _PROJECTOR not in _name(file) and not _is_side(file)]
    models = [file for file in weights if not _DRAFT.search(_name(file))] or weights
    parts: dict[tuple[str, int], dict[int, File]] = {}
    sets = []
    for file in models:
        if (match := _PART.fullmatch(file.path)) is None:
            sets.append(FileSet((file,)))
        else:
            parts.setdefault((match["stem"], int(match["count"])), {})[int(match["number"])] = file
    lacking = {
        _part(stem, 1, count): what for (stem, count), group in parts.items() if (what := _lacks(stem, count, group))
    }
    sets += [
        FileSet(tuple(group[number] for number in sorted(group)))
        for (stem, count), group in parts.items()
        if _part(stem, 1, count) not in lacking
    ]
    return FileSets(
        tuple(sorted(sets, key=lambda each: each.path)),
        tuple(sorted(projectors, key=_preference)),
        dict(sorted(lacking.items())),
    )


def _name(file: File) -> str:
    return file.path.rpartition("/")[2]


def _stem(path: str) -> str:
    """A path without what says that it is a GGUF file, or a part of one."""
    match = _PART.fullmatch(path)
    return path[: -len(_SUFFIX)] if match is None else match["stem"]


def _is_side(file: File) -> bool:
    return any(word in _name(file) for word in _SIDES)


def _lacks(stem: str, count: int, group: Mapping[int, File]) -> str | None:
    """What a set lacks; None where all of it is there."""
    if count > MAX_PARTS:
        return f"has {count} parts by its name, and no model has more than {MAX_PARTS}"
    if not 0 < min(group) <= max(group) <= count:
        return f"has a part that is number {min(group) or max(group)} of {count}"
    missing = list(_missing(stem, count, group))
    shown = ", ".join(f"`{path}`" for path in missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
    return f"lacks {shown}" if missing else None


_SHOWN = 3


def _missing(stem: str, count: int, group: Mapping[int, File]) -> Iterator[str]:
    return (_part(stem, number, count) for number in range(1, count + 1) if number not in group)


def _part(stem: str, number: int, count: int) -> str:
    return f"{stem}-{number:05}-of-{count:05}{_SUFFIX}"


# Projectors are small and sensitive: one of 16 bits is what llama.cpp's own converter writes.
_PREFERRED = ("F16", "BF16", "Q8_0", "F32")


def _preference(projector: File) -> tuple[int, int, str]:
    label = label_of(_stem(projector.path))
    rank = _PREFERRED.index(label) if label in _PREFERRED else len(_PREFERRED)
    return rank, projector.path.count("/"), projector.path
