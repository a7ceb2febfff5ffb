"""Templates of the user's own, each in place of the one of stackc with the same path.

All are read once, so that what is rendered is what was hashed. A template is Jinja in its sandbox: it sees the document
that it renders and nothing else, and includes only stackc's templates and its siblings.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.diagnostics import Diagnostic, Help, Label, Position, SourceText, Span
from compiler.source.files import read_file
from compiler.source.scan import existing_files
from compiler.source.text import decode_source

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Overrides:
    """Texts by the path of the template, such as `systemd/service.j2`; `folder` is as the user gave it."""

    folder: str
    texts: Mapping[str, str]

    @property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """Each path with the SHA-256 of its file, sorted."""
        return tuple((path, hashlib.sha256(text.encode()).hexdigest()) for path, text in sorted(self.texts.items()))

    def file_name(self, template: str) -> str:
        """The path of an override's file, as the user would write it."""
        return (Path(self.folder) / template).as_posix()


class TemplateFault(Exception):  # noqa: N818 (a finding about the user's file, not a bug)
    """An override that cannot be rendered."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def read_overrides(folder: Path, known: tuple[str, ...]) -> tuple[Overrides, tuple[Diagnostic, ...]]:
    """Every file below the folder, but for those whose name begins with a dot.

    Args:
        known: paths of all templates that there are.
    """
    texts: dict[str, str] = {}
    diagnostics: list[Diagnostic] = []
    for file in _files(folder):
        path = file.relative_to(folder).as_posix()
        text = _problem(folder, file, path, known) or _text(file)
        if isinstance(text, Diagnostic):
            diagnostics.append(text)
        else:
            texts[path] = text
    if not texts and not diagnostics:
        help_ = Help(
            f"put a changed copy of a template into it, with its path: `{folder.as_posix()}/systemd/service.j2`"
        )
        diagnostics.append(Diagnostic("E0604", f"{folder.as_posix()} holds no template", helps=(help_,)))
    return Overrides(folder.as_posix(), texts), tuple(diagnostics)


def fault_at(overrides: Overrides, template: str, line: int, message: str) -> Diagnostic:
    """A finding at a line of an override."""
    source = SourceText(overrides.file_name(template), overrides.texts[template])
    text = source.line(line)
    start = len(text) - len(text.lstrip()) + 1
    span = Span(source, Position(line, start), Position(line, max(len(text) + 1, start + 1)))
    return Diagnostic("E0604", message, Label(span))


def _files(folder: Path) -> Iterator[Path]:
    """All below the folder that is none; links are not followed to more of it."""
    for path in existing_files(folder):
        if not any(part.startswith(".") for part in path.split("/")):
            yield folder / path


def _problem(folder: Path, file: Path, path: str, known: tuple[str, ...]) -> Diagnostic | None:
    """Why a file cannot stand in for a template, by its name and place."""
    shown = file.as_posix()
    if path not in known:
        return _unknown(shown, path, known)
    # Not Path.resolve, which in some releases of Python raises RuntimeError for a link to itself.
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
        help_ = Help("copy the file here: what is compiled must not depend on files elsewhere")
        return Diagnostic("E0604", f"{shown} is a link to a file outside {folder.as_posix()}", helps=(help_,))
    return None


def _text(file: Path) -> str | Diagnostic:
    shown = file.as_posix()
    try:
        content = read_file(file, MAX_BYTES)
    except OSError as error:
        return Diagnostic("E0604", f"{shown} cannot be read: {error.strerror or error}")
    _, problem = decode_source(content, shown)
    return content.decode() if problem is None else replace(problem, code="E0604")


def _unknown(shown: str, path: str, known: tuple[str, ...]) -> Diagnostic:
    if path.endswith(".py"):
        note = "lib/ is emitted as it is; only templates, which end in .j2, can be replaced"
        return Diagnostic("E0604", f"{shown} is no template", notes=(note,))
    near = difflib.get_close_matches(path, known, n=3)
    helps = tuple(Help(f"did you mean `{name}`?") for name in near) or (Help(f"templates are: {', '.join(known)}"),)
    return Diagnostic("E0604", f"{shown}: stackc has no template `{path}`", helps=helps)
