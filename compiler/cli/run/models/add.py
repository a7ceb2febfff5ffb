"""`stackc models add`: a row in a file of the user's, from a lock, the Hub or a config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.cli.loudness import Loudness, loudness
from compiler.cli.paths import keep_inputs
from compiler.cli.progress import progress
from compiler.cli.report import finish, unreadable, unwritable
from compiler.cli.run.models.known import known_models, unknown_model
from compiler.cli.terminal import wrapped
from compiler.diagnostics import Diagnostic, Help, SourceText, has_errors
from compiler.lock.file import read_lock
from compiler.lock.models import FOLDER, ModelFacts
from compiler.lock.names import is_repository
from compiler.registry.entry import ModelEntry
from compiler.registry.read import Registry
from compiler.registry.user import Overlay, lay_over
from compiler.registry.written import NotAFileOfModelsError, with_row
from compiler.resolve.answers import SourceError
from compiler.resolve.cache import Cache
from compiler.resolve.described import UndescribedError, described
from compiler.resolve.problems import source_problem
from compiler.resolve.source import Source
from compiler.resolve.transport.hub import Hub
from compiler.source.cache import cache_folder
from compiler.source.document import MAX_BYTES
from compiler.source.files import read_file, write_changed
from compiler.source.text import read_source
from compiler.source.user_file import SPECS, USER_FILE

_MAX_CONFIG = 16 << 20
_WITHOUT_HUB = Help("`--config FILE` reads a config.json instead; a row that names its `base_model` needs neither")


def run(name: str, *, asks_hub: bool, config: Path | None, base: str | None, to: Path | None, form: str) -> NoReturn:
    """Write it, tell what was written, and end the run."""
    if asks_hub and config is not None:
        raise click.UsageError("--from-hub and --config contradict each other")
    if not is_repository(name):
        raise click.UsageError("MODEL must be a name as on the Hub, such as publisher/model")
    target = Path(SPECS) / USER_FILE if to is None else to
    keep_inputs("--to", target, [] if config is None else [config])
    known = known_models()
    parent = _base(known, base, form)
    found, facts = (name, _config_facts(config, form)) if config is not None else _facts(name, form, asks_hub=asks_hub)
    parent = parent or _stated_base(facts, known)
    try:
        row = described(found, facts, parent)
    except UndescribedError as error:
        help_ = Help("name the model that it was made from with --base")
        finish(
            form, (Diagnostic("E0309", f"`{found}` cannot be described: {error}", helps=(help_,)),), result={}, lines=()
        )
    _write(target, row, known, form)


def _base(known: Registry, name: str | None, form: str) -> ModelEntry | None:
    if name is None:
        return None
    entry = known.find(name)
    if entry is None:
        finish(form, (unknown_model(name, known),), result={}, lines=())
    return entry


def _stated_base(facts: ModelFacts, known: Registry) -> ModelEntry | None:
    """The first model of which its card says that it was made, where the registry knows it."""
    return next(filter(None, map(known.find, facts.base_models)), None)


def _facts(name: str, form: str, *, asks_hub: bool) -> tuple[str, ModelFacts]:
    """Of a lock in stacks/, else of the Hub, with the name that the model has there."""
    for path in () if asks_hub else sorted(Path(SPECS).glob("*.lock.yaml")):
        lock, _ = read_lock(path, str(path))
        if lock is not None and name in lock.models:
            return name, lock.models[name]
    with progress(is_silent=form == "json" or loudness() is Loudness.QUIET) as told:
        hub = Hub(progress=told)
        answer = Source(hub, Cache(cache_folder(), hub.endpoint), models={name: name}).find(name)
    if isinstance(answer, SourceError):
        problem = source_problem("", name, answer, hub, lambda _: None)
        finish(form, (replace(problem, helps=(*problem.helps, _WITHOUT_HUB)),), result={}, lines=())
    if answer[1].kind != "model":
        message = f"`{name}` holds no weights that its size could be read from ({answer[1].kind})"
        helps = (Help("describe the model that it was made from"),)
        finish(form, (Diagnostic("E0309", message, helps=helps),), result={}, lines=())
    return answer


def _config_facts(path: Path, form: str) -> ModelFacts:
    """What a config.json says, of a model that nobody has asked the Hub about."""
    try:
        content = read_file(path, _MAX_CONFIG)
    except OSError as error:
        finish(form, (unreadable(str(path), error),), result={}, lines=())
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        message = f"{path} is no JSON object, as a model's config.json is"
        finish(form, (Diagnostic("E0309", message),), result={}, lines=())
    return ModelFacts(source=FOLDER, config=config)


def _write(target: Path, row: Mapping[str, Any], known: Registry, form: str) -> NoReturn:
    """Put the row into the file, if the file with it can be used."""
    name = str(target)
    before = _before(target, form)
    try:
        text = with_row(before, row)
    except NotAFileOfModelsError as error:
        finish(form, (Diagnostic("E0320", f"{name} takes no model: {error}"),), result={}, lines=())
    overlay = Overlay(dict(known.models))
    lay_over(overlay, SourceText(name, text))
    if has_errors(overlay.problems):
        finish(form, overlay.problems, result={}, lines=())
    try:
        if target.parent == Path(SPECS):
            target.parent.mkdir(exist_ok=True)
        is_changed = write_changed(target, text.encode())
    except OSError as error:
        finish(form, (unwritable(name, error),), result={}, lines=())
    result = {"file": name, "changed": is_changed, "row": dict(row)}
    finish(form, (), result=result, lines=_lines(name, row, is_changed=is_changed))


def _before(target: Path, form: str) -> str:
    """The file so far; nothing where there is none."""
    try:
        source, problem = read_source(target, str(target), MAX_BYTES)
    except FileNotFoundError:
        return ""
    except OSError as error:
        finish(form, (unreadable(str(target), error),), result={}, lines=())
    if problem is not None:
        finish(form, (problem,), result={}, lines=())
    return source.text


def _lines(name: str, row: Mapping[str, Any], *, is_changed: bool) -> list[str]:
    told = f"{name}: {row['id']}" + ("" if is_changed else ", which it describes already")
    said = f"it says {', '.join(key for key in row if key != 'id')}; what else is known, such as tasks, is yours to add"
    return [told, *wrapped(said)]
