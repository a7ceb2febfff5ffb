"""From a file to a spec that passed its checks, and where its lock lies."""

from __future__ import annotations

from pathlib import Path

from compiler.checks.stack import check_spec
from compiler.diagnostics import Diagnostic, SourceText, has_errors
from compiler.engines.interface.engine import Engines
from compiler.source.document import MAX_BYTES
from compiler.source.files import TooLargeError
from compiler.source.text import decode_source, label_at, read_source
from compiler.spec.reading.load import SpecFile, load_spec

LOCK_SUFFIX = ".lock.yaml"


def lock_path(spec_path: Path) -> Path:
    """Where the lock of a spec lies."""
    return spec_path.with_name(spec_path.stem + LOCK_SUFFIX)


def read_spec(
    path: Path, name: str, engines: Engines, content: bytes | None = None
) -> tuple[SpecFile | None, tuple[Diagnostic, ...]]:
    """Load and check.

    Args:
        path: of the spec.
        name: what diagnostics call it.
        engines: every one that a spec may name.
        content: what an editor holds, in place of the file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        read = read_source(path, name, MAX_BYTES) if content is None else decode_source(content, name)
    except TooLargeError:
        message = f"the file is larger than {MAX_BYTES} bytes"
        return None, (Diagnostic("E0101", message, label_at(SourceText(name, ""), 0)),)
    source, problem = read
    if problem is not None:
        return None, (problem,)
    file, problems = load_spec(source, engines)
    if file is None:
        return None, problems
    problems = check_spec(file, engines)
    return (None if has_errors(problems) else file), problems
