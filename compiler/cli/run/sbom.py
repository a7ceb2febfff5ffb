"""`stackc sbom`: what stacks are made of, for whoever has to know before it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from compiler.checks.read import lock_path
from compiler.cli.loudness import SpecLevels
from compiler.cli.paths import keep_inputs
from compiler.cli.report import finish, unreadable, unwritable
from compiler.cli.run.specs import spec_paths
from compiler.diagnostics import Diagnostic, has_errors
from compiler.pipeline import explain_stack
from compiler.plan.ir import Plan
from compiler.source.files import write_changed
from compiler.targets.sbom.document import format_sbom, sbom_object

_LATEST = 253402300799  # the last second of year 9999, after which there is no date


def run(specs: tuple[Path, ...], *, output: Path | None, levels: SpecLevels, form: str) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    paths = spec_paths(specs)
    keep_inputs("--output", output, [path for spec in paths for path in (spec, lock_path(spec))])
    stacks, diagnostics = _plans(paths, levels)
    if has_errors(diagnostics):
        finish(form, diagnostics, result={}, lines=())
    document = sbom_object(stacks, timestamp=_timestamp())
    text = format_sbom(document)
    if output is None:
        finish(form, diagnostics, result={"sbom": document}, lines=text.splitlines())
    try:
        changed = write_changed(output, text.encode())
    except OSError as error:
        found = unwritable(str(output), error)
        finish(form, (*diagnostics, found), result={}, lines=())
    count = len(document["components"])
    lines = [f"{output}: {'written' if changed else 'unchanged'}, {count} components"]
    finish(form, diagnostics, result={"output": str(output), "components": count}, lines=lines)


def _plans(paths: Sequence[Path], levels: SpecLevels) -> tuple[dict[str, tuple[Plan, ...]], tuple[Diagnostic, ...]]:
    stacks: dict[str, tuple[Plan, ...]] = {}
    diagnostics: tuple[Diagnostic, ...] = ()
    for path in paths:
        try:
            explained, found = explain_stack(path, str(path))
        except OSError as error:
            explained, found = None, (unreadable(str(path), error),)
        diagnostics += levels.for_spec(path).applied(found)
        if explained is None or not explained.plans:
            continue
        name = explained.plans[0].stack
        if name in stacks:
            raise click.UsageError(f"several specs are called {name}")
        stacks[name] = explained.plans
    return stacks, diagnostics


def _timestamp() -> int | None:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(_LATEST)) and int(given) <= _LATEST):
        raise click.UsageError(f"SOURCE_DATE_EPOCH is no number of seconds: {given[:40]}")
    return int(given)
