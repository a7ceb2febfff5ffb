"""The spec that `stackc recommend --write` leaves: checked as any other before it is written, and never over one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from compiler.checks.read import lock_path
from compiler.choose.recommend.wish import Cards
from compiler.choose.recommend.written import Part, spec_text
from compiler.cli.report import finish, unwritable
from compiler.diagnostics import SourceText, has_errors
from compiler.engines.registry import ENGINES
from compiler.schemas.documents import MODELINE
from compiler.spec.base import Name
from compiler.spec.reading.load import load_spec

_SCHEMA_FILE = "spec.schema.json"


def place(target: Path) -> Path:
    """Where the spec goes, which nothing may have yet.

    Raises:
        click.UsageError: it has, or no stack can be called so.
    """
    if target.suffix != ".yaml":
        raise click.UsageError("--write takes the path of a spec, such as stacks/mine.yaml")
    try:
        TypeAdapter(Name).validate_python(target.stem)
    except ValidationError as error:
        raise click.UsageError("a stack's name is of a-z, 0-9 and -, 41 at most, a letter first") from error
    for path in (target, lock_path(target)):
        if path.is_symlink() or path.exists():
            raise click.UsageError(f"{path} exists, and is not overwritten: give another name")
    return target


def write_spec(target: Path, parts: Sequence[Part], cards: Cards, form: str) -> list[str]:
    """Write it, and say what is next; the run ends where it cannot be written."""
    text = spec_text(target.stem, parts, cards, f"{MODELINE}{_SCHEMA_FILE}")
    file, found = load_spec(SourceText(str(target), text), ENGINES)
    if file is None or has_errors(found):
        finish(form, found, result={}, lines=())
    try:
        target.parent.mkdir(exist_ok=True)
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        finish(form, (unwritable(str(target), error),), result={}, lines=())
    return [f"{target}: written", f"next: stackc lock {target} && stackc compile {target}"]
