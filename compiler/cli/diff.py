"""`stackc diff`: what the specs change in the output, in the words of a plan, and what an upgrade restarts."""

from __future__ import annotations

from pathlib import Path

import click

from compiler.cli import complete
from compiler.cli.changes import changes_on_disk, changes_since
from compiler.cli.compile import check_place, compile_all
from compiler.cli.paths import FILE, FOLDER, OUTPUT
from compiler.cli.report import ASSUME, DENY, Exit, finish
from compiler.cli.specs import spec_paths
from compiler.compare.render import data, lines, markdown
from compiler.diagnostics import has_errors
from compiler.diagnostics.levels import Levels
from compiler.diagnostics.render import visible
from compiler.emit.content import NoHistoryError
from compiler.emit.output import Output
from compiler.emit.tree import tree_of
from compiler.render.environment import load_overrides


@click.command("diff")
@click.argument("specs", nargs=-1, type=FILE, shell_complete=complete.specs)
@click.option("--against", metavar="REF", help="Compare with the output of a commit, such as HEAD or origin/main.")
@click.option("-v", "--verbose", is_flag=True, help="Show derived figures and every file too.")
@click.option("--output", type=OUTPUT, default=Path("generated"), show_default=True)
@click.option("--templates", type=FOLDER, help="A folder of templates, as for `stackc compile`.")
@ASSUME
@DENY
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How to report.",
)
def command(
    specs: tuple[Path, ...],
    *,
    against: str | None,
    verbose: bool,
    output: Path,
    templates: Path | None,
    assume: str | None,
    levels: Levels,
    form: str,
) -> None:
    """Say what SPECS (default: every stacks/*.yaml) change in the output. Nothing is written.

    Exit codes: 0 nothing changes, 4 something does, 1 a spec has an error, 2 usage, 3 the outside world failed.
    """
    paths = spec_paths(specs)
    check_place(output, paths)
    overrides, unusable = (None, ()) if templates is None else load_overrides(templates)
    usable = None if has_errors(unusable) else overrides
    compiled, found = compile_all(paths, assumes_full=assume == "full", overrides=usable)
    diagnostics = levels.applied(dict.fromkeys((*unusable, *found)))
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
    told = markdown(changed).splitlines() if form == "markdown" else [*lines(changed, is_whole=verbose), *by_hand]
    finish(
        form,
        # A warning is no change; `stackc compile` tells it.
        () if form != "json" else diagnostics,
        result={"differences": data(changed), "edited": edited},
        lines=told or [f"{output} is what the specs say"],
        otherwise=Exit.DIFFERS if changed or edited else Exit.FINE,
    )
