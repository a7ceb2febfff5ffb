"""`stackc lock`: the only command that goes online."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from compiler.cli.report import FORMAT, finish, spec_paths, unreadable
from compiler.diagnostics import Diagnostic, Help, Span
from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import Lock
from compiler.pipeline import lock_path, read_spec
from compiler.resolve.hub import Hub
from compiler.resolve.problems import Locate
from compiler.resolve.resolve import resolve_lock
from compiler.spec.load import SpecFile


@click.command("lock")
@click.argument("specs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--upgrade", is_flag=True, help="Move every model to its newest commit and search variants anew.")
@FORMAT
def command(specs: tuple[Path, ...], *, upgrade: bool, form: str) -> None:
    """Resolve the models of SPECS (default: every stacks/*.yaml) and write NAME.lock.yaml beside each.

    HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured. Weights are never downloaded.
    """
    hub = Hub()
    diagnostics: tuple[Diagnostic, ...] = ()
    lines: list[str] = []
    for path in spec_paths(specs):
        found, line = lock_spec(path, str(path), hub, upgrade=upgrade)
        diagnostics += found
        lines += line
    finish(form, diagnostics, result={"locks": lines}, lines=lines)


def lock_spec(
    path: Path, name: str, hub: Hub, *, upgrade: bool = False
) -> tuple[tuple[Diagnostic, ...], Sequence[str]]:
    """Write the lock of one spec; what was found, and a line for people."""
    try:
        file, diagnostics = read_spec(path, name)
    except OSError as error:
        return (unreadable(name, error),), ()
    if file is None:
        return diagnostics, ()
    target = lock_path(path)
    lock, problems = resolve_lock(
        file.spec, hub=hub, previous=_previous(target), upgrade=upgrade, locate=_locator(file)
    )
    diagnostics += problems
    if lock is None:
        return diagnostics, ()
    try:
        changed = write_lock(target, lock)
    except OSError as error:
        help_ = Help("the lock on disk is as it was; repeat when the cause is mended")
        message = f"cannot write {target}: {error.strerror or error}"
        return (*diagnostics, Diagnostic("E0601", message, helps=(help_,))), ()
    return diagnostics, [f"{target}: {'written' if changed else 'unchanged'}, {len(lock.models)} models"]


def _previous(path: Path) -> Lock | None:
    """The lock so far; one that cannot be read is written anew."""
    return read_lock(path, str(path))[0] if path.is_file() else None


def _locator(file: SpecFile) -> Locate:
    def locate(path: tuple[str | int, ...]) -> Span | None:
        return file.document.value(path)

    return locate
