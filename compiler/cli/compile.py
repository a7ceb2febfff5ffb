"""`stackc compile`: all specs, or none. Nothing is written if any of them has an error."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from compiler.cli.neighbours import check_neighbours
from compiler.cli.report import ASSUME, FORMAT, finish, spec_paths, unreadable
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.emit.check import differences
from compiler.emit.output import foreign_paths, orphaned_trees, write_all
from compiler.emit.tree import Tree, tree_of
from compiler.pipeline import Compiled, compile_stack
from compiler.plan.ir import CpuNode, Plan
from compiler.render.environment import load_overrides
from compiler.render.overrides import Overrides


@click.command("compile")
@click.argument("specs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 with a diff if the output is not what specs say.")
@click.option(
    "--locked",
    is_flag=True,
    expose_value=False,
    help="Refuse a missing or stale lock. Compiling always does, and never writes a lock: for scripts that say it.",
)
@click.option("--prune", is_flag=True, help="Also remove files in the output that stackc never wrote.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("generated"), show_default=True
)
@click.option(
    "--templates",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of templates that take the place of stackc's with the same path, such as systemd/service.j2.",
)
@ASSUME
@FORMAT
def command(
    specs: tuple[Path, ...],
    *,
    check: bool,
    prune: bool,
    output: Path,
    templates: Path | None,
    assume: str | None,
    form: str,
) -> None:
    """Compile SPECS (default: every stacks/*.yaml) into one folder each below the output."""
    overrides, unusable = (None, ()) if templates is None else load_overrides(templates)
    usable = None if has_errors(unusable) else overrides
    compiled, diagnostics = _compile_all(spec_paths(specs), assumes_full=assume == "full", overrides=usable)
    # A template that fails for one stack mostly fails for all.
    diagnostics = tuple(dict.fromkeys((*unusable, *diagnostics)))
    trees = tuple(tree_of(output / stack.stack, stack.artifacts) for stack in compiled)
    job = _Job(output, trees, tuple(compiled), specs, prune=prune, assume=assume, templates=templates)
    lines: list[str] = []
    if not has_errors(diagnostics):
        try:
            found, lines = _check(job) if check else _write(job)
        except OSError as error:
            found = (_cannot_write(output, error),)
        diagnostics += found
    stacks = [{"stack": stack.stack, "verdict": stack.verdict.value} for stack in compiled]
    finish(form, diagnostics, result={"stacks": stacks, "output": str(output)}, lines=lines)


@dataclass(frozen=True, slots=True)
class _Job:
    """What the command line asks for. Without named specs, the trees are all that there should be."""

    output: Path
    trees: tuple[Tree, ...]
    stacks: tuple[Compiled, ...]
    specs: tuple[Path, ...]
    prune: bool
    assume: str | None
    templates: Path | None

    @property
    def all_specs(self) -> bool:
        return not self.specs

    def repair(self, *, prune: bool) -> str:
        """The command that makes the output what the specs say."""
        default = self.output == Path("generated")
        words = ["stackc", "compile", *map(str, self.specs), *(() if default else ("--output", str(self.output)))]
        words += [] if self.assume is None else ["--assume", self.assume]
        words += [] if self.templates is None else ["--templates", str(self.templates)]
        return shlex.join([*words, "--prune"] if prune else words)


def _compile_all(
    paths: Sequence[Path], *, assumes_full: bool, overrides: Overrides | None
) -> tuple[list[Compiled], tuple[Diagnostic, ...]]:
    compiled: list[Compiled] = []
    diagnostics: tuple[Diagnostic, ...] = ()
    found_at: dict[Path, Compiled] = {}
    for path in paths:
        try:
            stack, found = compile_stack(path, str(path), assumes_full=assumes_full, overrides=overrides)
        except OSError as error:
            found = (unreadable(str(path), error),)
            stack = None
        diagnostics += found
        if stack is not None:
            compiled.append(stack)
            found_at[path] = stack
    for name, count in Counter(stack.stack for stack in compiled).items():
        if count > 1:
            raise click.UsageError(f"{count} specs are called {name}: their output would be one folder")
    return compiled, (*diagnostics, *check_neighbours(found_at))


def _write(job: _Job) -> tuple[tuple[Diagnostic, ...], list[str]]:
    foreign = () if job.prune else foreign_paths(job.output, job.trees, all_specs=job.all_specs)
    if foreign:
        return tuple(_foreign(path, job) for path in foreign), []
    changed = write_all(job.output, job.trees, all_specs=job.all_specs, prune=job.prune)
    written = {tree.root for tree in changed}
    pairs = zip(job.stacks, job.trees, strict=True)
    return (), [_line(plan, tree, changed=tree.root in written) for stack, tree in pairs for plan in stack.plans]


def _cannot_write(output: Path, error: OSError) -> Diagnostic:
    where = error.filename2 or error.filename or output
    message = f"cannot write below {output}: {error.strerror or error} ({where})"
    help_ = Help("each stack's folder is still either the old one or the new one; repeat when the cause is mended")
    return Diagnostic("E0601", message, helps=(help_,))


def _foreign(path: Path, job: _Job) -> Diagnostic:
    help_ = Help(f"move {path} away, or remove all such files with `{job.repair(prune=True)}`")
    return Diagnostic("E0603", f"{path} was not written by stackc", helps=(help_,))


def _line(plan: Plan, tree: Tree, *, changed: bool) -> str:
    where = plan.node.name if isinstance(plan.node, CpuNode) else f"{plan.node.count} × {plan.node.title}"
    services = ", ".join(service.name for service in plan.services)
    folder = tree.root / plan.folder
    return f"{plan.tree}: {services} on {where}: {plan.verdict.value} ({folder}{'' if changed else ', unchanged'})"


def _check(job: _Job) -> tuple[tuple[Diagnostic, ...], list[str]]:
    foreign = foreign_paths(job.output, job.trees, all_specs=job.all_specs)
    repair = job.repair(prune=bool(foreign))
    orphans = orphaned_trees(job.output, job.trees) if job.all_specs else ()
    found = [_differs(f"{path}: no spec asks for this folder", repair) for path in orphans]
    lines: list[str] = []
    for tree in job.trees:
        for difference in differences(tree):
            path = tree.root / difference.path
            is_foreign = path in foreign
            found.append(_foreign(path, job) if is_foreign else _differs(f"{path}: {difference.what}", repair))
            lines += difference.diff.splitlines()
    below = {path for tree in job.trees for path in foreign if path.is_relative_to(tree.root)}
    found += [_foreign(path, job) for path in foreign if path not in below]
    return tuple(found), lines or ([] if found else [f"{job.output} is what the specs say"])


def _differs(message: str, repair: str) -> Diagnostic:
    return Diagnostic("E0602", message, helps=(Help(f"`{repair}` repairs it"),))
