"""`stackc diff`: what the specs change in the output, in the words of a plan, and what an upgrade restarts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.report import Exit, finish
from compiler.cli.run.changes import changes_on_disk, changes_since
from compiler.cli.run.compile import check_place, compile_with
from compiler.cli.run.specs import spec_paths
from compiler.compare.render import data, lines, markdown
from compiler.diagnostics import has_errors
from compiler.diagnostics.looking import Looking
from compiler.diagnostics.render import visible
from compiler.emit.content import NoHistoryError
from compiler.emit.output import Output
from compiler.emit.tree import tree_of
from compiler.pipeline import compile_stack


def run(
    specs: tuple[Path, ...],
    *,
    against: str | None,
    output: Path,
    templates: Path | None,
    assume: str | None,
    looking: Looking,
    levels: SpecLevels,
    form: str,
) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    paths = spec_paths(specs)
    check_place(output, paths)
    ask = partial(compile_stack, assumes_full=assume == "full", looking=looking)
    compiled, diagnostics = compile_with(templates, paths, ask, levels)
    if has_errors(diagnostics):
        finish(form, diagnostics, result={}, lines=())
    trees = [tree_of(output / stack.stack, stack.artifacts) for stack in compiled]
    files = Output(output, trees, all_specs=not specs)
    edited: list[str] = []
    try:
        if against is None:
            changed = changes_on_disk(output, compiled, (path.name for path in files.orphans()))
            edited = [str(each.path) for each in files.edited()]
        else:
            changed = changes_since(against, output, compiled, all_specs=not specs)
    except NoHistoryError as error:
        raise click.UsageError(f"--against {visible(against or '')}: {error}; {error.remedy}") from error
    except OSError as error:
        raise click.UsageError(f"{error.filename or output} cannot be read: {error.strerror}") from error
    by_hand = [f"{path}: edited by hand" for path in edited]
    told = (
        markdown(changed).splitlines()
        if form == "markdown"
        else [*lines(changed, is_whole=loudness() is Loudness.VERBOSE), *by_hand]
    )
    finish(
        form,
        # A warning is no change; `stackc compile` tells it.
        () if form != "json" else diagnostics,
        result={"differences": data(changed), "edited": edited},
        lines=told or [f"{output} is what the specs say"],
        otherwise=Exit.DIFFERS if changed or edited else Exit.FINE,
    )
