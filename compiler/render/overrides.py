"""Templates of the user's own, each in place of the one of stackc with the same path.

All are read once, so that what is rendered is what was hashed. A template is Jinja in its sandbox: it sees the document
that it renders and nothing else, and includes only stackc's templates and its siblings.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.diagnostics import Diagnostic, Help, Label, Position, SourceText, Span

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
        problem = _problem(folder, file, path, known)
        if problem is None:
            texts[path] = file.read_bytes().decode()
        else:
            diagnostics.append(problem)
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
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and not path.is_dir():
            yield path


def _problem(folder: Path, file: Path, path: str, known: tuple[str, ...]) -> Diagnostic | None:
    """Why a file cannot stand in for a template."""
    shown = file.as_posix()
    if path not in known:
        return _unknown(shown, path, known)
    if not file.resolve().is_relative_to(folder.resolve()):
        help_ = Help("copy the file here: what is compiled must not depend on files elsewhere")
        return Diagnostic("E0604", f"{shown} is a link to a file outside {folder.as_posix()}", helps=(help_,))
    try:
        data = file.read_bytes()
        data.decode()
    except OSError as error:
        return Diagnostic("E0604", f"{shown} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        return Diagnostic("E0604", f"{shown} is not UTF-8")
    return Diagnostic("E0604", f"{shown} is larger than {MAX_BYTES} bytes") if len(data) > MAX_BYTES else None


def _unknown(shown: str, path: str, known: tuple[str, ...]) -> Diagnostic:
    if path.endswith(".py"):
        note = "the programs in bin/ are emitted as they are; only templates, which end in .j2, can be replaced"
        return Diagnostic("E0604", f"{shown} is no template", notes=(note,))
    near = difflib.get_close_matches(path, known, n=3)
    helps = tuple(Help(f"did you mean `{name}`?") for name in near) or (Help(f"templates are: {', '.join(known)}"),)
    return Diagnostic("E0604", f"{shown}: stackc has no template `{path}`", helps=helps)
