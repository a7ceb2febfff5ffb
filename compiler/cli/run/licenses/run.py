"""`stackc licenses`: under which licences the models of stacks are used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from compiler.cli.loudness import SpecLevels
from compiler.cli.report import finish, unreadable
from compiler.cli.run.licenses.lines import stack_lines
from compiler.cli.run.licenses.stack import ModelTerms, stack_terms
from compiler.cli.run.specs import spec_paths
from compiler.diagnostics import Diagnostic, has_errors
from compiler.diagnostics.looking import Looking
from compiler.pipeline import explain_stack
from compiler.registry.read import Registry, registry
from compiler.registry.terms import Held
from compiler.source.user_file import user_files


def run(specs: tuple[Path, ...], *, levels: SpecLevels, form: str) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    stacks, diagnostics = _stacks(spec_paths(specs), levels)
    result = {"stacks": {name: list(map(_object, models)) for name, models in stacks.items()}}
    lines = [line for name, models in stacks.items() for line in stack_lines(name, models)]
    finish(form, diagnostics, result=result, lines=lines)


def _stacks(
    paths: Sequence[Path], levels: SpecLevels
) -> tuple[dict[str, tuple[ModelTerms, ...]], tuple[Diagnostic, ...]]:
    """By the name of each spec's file. Of what is found of a stack only errors are told."""
    stacks: dict[str, tuple[ModelTerms, ...]] = {}
    diagnostics: tuple[Diagnostic, ...] = ()
    known: dict[tuple[Path, ...], Registry] = {}
    for path in paths:
        files = user_files(path.parent)
        if files not in known:
            known[files] = registry(files)
            diagnostics += levels.for_spec(path).applied(known[files].problems)
        try:
            explained, found = explain_stack(path, str(path), looking=Looking(0))
        except OSError as error:
            explained, found = None, (unreadable(str(path), error),)
        diagnostics += tuple(each for each in levels.for_spec(path).applied(found) if has_errors((each,)))
        if explained is not None:
            stacks[path.stem] = stack_terms(explained, known[files])
    return stacks, diagnostics


def _object(model: ModelTerms) -> dict[str, Any]:
    return {
        "service": model.service,
        "model": model.model,
        "served": model.is_served,
        "commercial": model.strictest.commercial,
        "licenses": [_held(each) for each in model.held],
    }


def _held(held: Held) -> dict[str, Any]:
    return {
        "of": held.repository,
        "made_into": held.made_into,
        "tag": held.tag,
        "name": held.name,
        "commercial": held.commercial,
        "condition": held.condition,
        "link": held.link,
        "source": held.source,
    }
