"""`stackc lock`: asks the Hub, and writes what it said beside the spec."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.checks.engines import other_engine
from compiler.checks.read import lock_path, read_spec
from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.progress import progress
from compiler.cli.report import finish, unreadable, unwritable
from compiler.cli.run.specs import spec_paths
from compiler.diagnostics import Diagnostic, Span, has_errors
from compiler.diagnostics.levels import WARNING, Levels
from compiler.diagnostics.render import visible
from compiler.engines.registry import ENGINES
from compiler.lock.changes import Change, FactChange, Value, lock_changes
from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import Lock
from compiler.lock.second_looks import Locate, rename_problems, surprises
from compiler.resolve.answers import plain
from compiler.resolve.cache import Cache
from compiler.resolve.resolve import resolve_lock
from compiler.resolve.transport.hub import Hub
from compiler.resolve.transport.room import share_heaps
from compiler.source.cache import cache_folder
from compiler.spec.reading.load import SpecFile
from compiler.units import counted, format_gib

_COMMIT_SHOWN = 12


def run(
    specs: tuple[Path, ...],
    *,
    upgrade: bool,
    services: tuple[str, ...],
    copies: Mapping[str, Path],
    levels: SpecLevels,
    form: str,
) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    share_heaps()
    paths = spec_paths(specs)
    _check_services(paths, services)
    _check_copies(paths, copies)
    diagnostics: tuple[Diagnostic, ...] = ()
    reports: list[LockReport] = []
    with progress(is_silent=form == "json" or loudness() is Loudness.QUIET) as told:
        hub = Hub(progress=told)
        cache = Cache(cache_folder(), hub.endpoint)
        for path in paths:
            for_spec = levels.for_spec(path)
            found, report = lock_spec(
                path, str(path), hub, cache=cache, upgrade=upgrade or services, levels=for_spec, copies=copies
            )
            diagnostics += found
            reports += [report] if report is not None else []
    lines = [line for report in reports for line in report.lines if loudness() is not Loudness.QUIET]
    changes = {str(report.path): [_change_object(change) for change in report.changes] for report in reports}
    finish(
        form, diagnostics, result={"locks": [report.lines[0] for report in reports], "changes": changes}, lines=lines
    )


@dataclass(frozen=True, slots=True)
class LockReport:
    """A lock that is as its spec asks.

    Attributes:
        is_written: False where the file said so already.
        ggufs: by repository, folder or file, how large models in GGUF files are, in bytes.
        changes: against the lock so far; nothing where there was none.
    """

    path: Path
    is_written: bool
    models: int
    ggufs: Mapping[str, Sequence[int]]
    changes: tuple[Change, ...]

    @property
    def lines(self) -> Sequence[str]:
        """For people: the file, then what moved."""
        verdict = "written" if self.is_written else "unchanged"
        return [
            f"{self.path}: {verdict}, {counted(self.models, 'model')}",
            *(f"  {place}: {_sizes(sizes)}" for place, sizes in self.ggufs.items()),
            *(f"  {_told(change)}" for change in self.changes),
        ]


def _sizes(sizes: Sequence[int]) -> str:
    """How many models a place holds, and how large they are."""
    least, most = format_gib(min(sizes)), format_gib(max(sizes))
    return f"{counted(len(sizes), 'GGUF model')}, {least if least == most else f'{least} to {most}'} GiB of tensors"


def _ggufs(lock: Lock) -> Mapping[str, Sequence[int]]:
    found: dict[str, list[int]] = {}
    for key, facts in lock.models.items():
        if facts.gguf is not None:
            found.setdefault(key.partition("#")[0], []).append(facts.gguf.tensor_bytes)
    return found


def lock_spec(
    path: Path,
    name: str,
    hub: Hub,
    *,
    cache: Cache | None = None,
    upgrade: bool | Collection[str] = False,
    levels: Levels = WARNING,
    copies: Mapping[str, Path] | None = None,
) -> tuple[tuple[Diagnostic, ...], LockReport | None]:
    """Write the lock of one spec; what was found, and what was written."""
    try:
        file, diagnostics = read_spec(path, name, ENGINES)
    except OSError as error:
        return (unreadable(name, error),), None
    if file is None:
        return diagnostics, None
    target = lock_path(path)
    previous = _previous(target)
    lock, problems = resolve_lock(
        file.spec,
        hub=hub,
        cache=cache,
        previous=previous,
        formats={name: ENGINES[service.engine].formats for name, service in file.spec.services.items()},
        upgrade=upgrade,
        locate=_locator(file),
        copies=copies,
        instead=partial(other_engine, file, ENGINES),
    )
    diagnostics = levels.applied((*diagnostics, *problems))
    if lock is None or has_errors(diagnostics):
        return diagnostics, None
    if previous is not None:  # images are asked for by `stackc images`
        lock = lock.model_copy(update={"images": previous.images})
    candidates = (
        (service, name, lock.models[name]) for service, locked in lock.services.items() for name in locked.candidates
    )
    told = (*rename_problems(file.spec, lock, _locator(file)), *surprises(candidates, _locator(file)))
    diagnostics += levels.applied(told)
    try:
        is_written = write_lock(target, lock)
    except OSError as error:
        return (*diagnostics, unwritable(str(target), error)), None
    changes = lock_changes(previous, lock) if previous is not None else ()
    return diagnostics, LockReport(target, is_written, len(lock.models), _ggufs(lock), changes)


def _check_services(paths: Sequence[Path], services: Sequence[str]) -> None:
    """Refuse a service that no spec has, before anything is asked. Specs that cannot be read are told later."""
    files = _read_all(paths) if services else None
    if files is None:
        return
    known = {name for file in files for name in file.spec.services}
    unknown = [name for name in services if name not in known]
    if unknown:
        raise click.UsageError(f"no such service: {', '.join(unknown)} (there are {', '.join(sorted(known))})")


def _check_copies(paths: Sequence[Path], copies: Mapping[str, Path]) -> None:
    """Refuse a copy of a folder that no spec names: its facts would be in no lock."""
    files = _read_all(paths) if copies else None
    if files is None:
        return
    services_of = [service for file in files for service in file.spec.services.values()]
    known = {service.model.rstrip("/") for service in services_of}
    known |= {adapter.model.rstrip("/") for service in services_of for adapter in service.adapters}
    known |= {str(each.speculate.model).rstrip("/") for each in services_of if each.speculate is not None}
    unknown = [path for path in copies if path not in known]
    if unknown:
        raise click.UsageError(f"no service has the model {visible(', '.join(unknown))}")


def _read_all(paths: Sequence[Path]) -> list[SpecFile] | None:
    """The specs; None where one cannot be read, which is told when it is locked."""
    files = []
    for path in paths:
        try:
            file, _ = read_spec(path, str(path), ENGINES)
        except OSError:
            return None
        if file is None:
            return None
        files.append(file)
    return files


def _previous(path: Path) -> Lock | None:
    """The lock so far; one that cannot be read is written anew."""
    return read_lock(path, str(path))[0]


def _locator(file: SpecFile) -> Locate:
    def locate(path: tuple[str | int, ...]) -> Span | None:
        return file.document.value(path)

    return locate


def _told(change: Change) -> str:
    facts = ", ".join(_fact(fact) for fact in change.facts)
    if change.kind == "renamed":
        return f"{change.was} is named {change.model} now" + (f": {facts}" if facts else "")
    if change.kind == "moved":
        return f"{change.model}: {facts}"
    return f"{change.model}: {'new' if change.kind == 'new' else 'no longer a candidate'}"


def _fact(change: FactChange) -> str:
    if change.fact in ("config", "tensors"):
        return f"another {change.fact}" if change.fact == "config" else "other tensors"
    return f"{change.fact} {_value(change.fact, change.old)} → {_value(change.fact, change.new)}"


def _value(fact: str, value: Value) -> str:
    if value is None:
        return "no" if fact == "gated" else "none"
    if isinstance(value, int):
        return f"{format_gib(value)} GiB ({value} bytes)"
    return value[:_COMMIT_SHOWN] if fact == "commit" else plain(value)


def _change_object(change: Change) -> dict[str, Any]:
    facts = {fact.fact: {"old": fact.old, "new": fact.new} for fact in change.facts}
    return {"model": change.model, "kind": change.kind, "was": change.was, "facts": facts}
