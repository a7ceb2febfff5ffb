"""`stackc compile`: all specs, or none. Nothing is written if any of them has an error."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from compiler.cli.drift import Drift, differs, each_drift, summary
from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.neighbours import check_neighbours
from compiler.cli.report import finish, unreadable, waiting
from compiler.cli.specs import spec_paths
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.diagnostics.levels import Levels
from compiler.emit.check import differences
from compiler.emit.disk import make_folders
from compiler.emit.output import Foreign, Output
from compiler.emit.place import refusal
from compiler.emit.tree import Tree, tree_of
from compiler.emit.turns import turn
from compiler.pipeline import Compiled, compile_stack
from compiler.plan.ir import CpuNode, Plan
from compiler.render.environment import load_overrides
from compiler.spec.read import lock_path


def run(
    specs: tuple[Path, ...],
    *,
    check: bool,
    prune: bool,
    output: Path,
    templates: Path | None,
    assume: str | None,
    looks_for_helps: bool,
    levels: SpecLevels,
    form: str,
) -> NoReturn:
    """Compile specs, tell what came of it, and end the run."""
    paths = spec_paths(specs)
    inputs = [*paths, *map(lock_path, paths), *([] if templates is None else [templates])]
    _check_place(output, inputs)
    overrides, unusable = (None, ()) if templates is None else load_overrides(templates)
    usable = None if has_errors(unusable) else overrides
    ask = partial(compile_stack, assumes_full=assume == "full", overrides=usable, looks_for_helps=looks_for_helps)
    compiled, diagnostics = _compile_all(paths, ask, levels)
    # A template that fails for one stack mostly fails for all.
    diagnostics = tuple(dict.fromkeys((*levels.applied(unusable), *diagnostics)))
    _check_place(output, [path for stack in compiled for path in stack.inputs])
    trees = tuple(tree_of(output / stack.stack, stack.artifacts) for stack in compiled)
    job = _Job(output, trees, tuple(compiled), specs, prune=prune, assume=assume, templates=templates, levels=levels)
    lines: list[str] = []
    if not has_errors(diagnostics):
        try:
            found, lines = _check(job, form) if check else _write(job, form)
        except OSError as error:
            found = (_cannot_write(output, error),)
        diagnostics += found
    stacks = [{"stack": stack.stack, "verdict": stack.verdict.value} for stack in compiled]
    lines = [] if loudness() is Loudness.QUIET else lines
    finish(form, diagnostics, result={"stacks": stacks, "output": str(output)}, lines=lines)


# What compiling one spec comes to.
_Answer = tuple[Compiled | None, tuple[Diagnostic, ...]]


def _check_place(output: Path, inputs: Iterable[Path]) -> None:
    try:
        reason = refusal(output, inputs)
    except FileNotFoundError as error:
        raise click.UsageError("the working folder is gone") from error
    if reason is not None:
        raise click.UsageError(f"--output {output} is not for generated trees alone: {reason}")


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
    levels: Levels

    @property
    def all_specs(self) -> bool:
        return not self.specs

    @property
    def files(self) -> Output:
        return Output(self.output, self.trees, all_specs=self.all_specs)

    def repair(self, *, prune: bool) -> str:
        """The command that makes the output what the specs say."""
        default = self.output == Path("generated")
        words = ["stackc", "compile", *map(str, self.specs), *(() if default else ("--output", str(self.output)))]
        words += [] if self.assume is None else ["--assume", self.assume]
        words += [] if self.templates is None else ["--templates", str(self.templates)]
        words += self.levels.words
        return shlex.join([*words, "--prune"] if prune else words)


def _compile_all(
    paths: Sequence[Path],
    ask: Callable[[Path, str], _Answer],
    levels: SpecLevels,
) -> tuple[list[Compiled], tuple[Diagnostic, ...]]:
    compiled: list[Compiled] = []
    diagnostics: tuple[Diagnostic, ...] = ()
    found_at: dict[Path, Compiled] = {}
    for path in paths:
        try:
            stack, found = ask(path, str(path))
        except OSError as error:
            found = (unreadable(str(path), error),)
            stack = None
        diagnostics += levels.for_spec(path).applied(found)
        if stack is not None:
            compiled.append(stack)
            found_at[path] = stack
    for name, count in Counter(stack.stack for stack in compiled).items():
        if count > 1:
            raise click.UsageError(f"{count} specs are called {name}: their output would be one folder")
    return compiled, (*diagnostics, *levels.applied(check_neighbours(found_at)))


def _write(job: _Job, form: str) -> tuple[tuple[Diagnostic, ...], list[str]]:
    make_folders(job.output)
    with turn(job.output, is_writing=True, tell=waiting(form)) as is_alone:
        output = job.files
        foreign = output.foreign()
        refused = [each for each in foreign if not (job.prune and each.is_prunable)]
        if refused:
            return tuple(_foreign(each, job) for each in refused), []
        removed = [f"{path}: removed, a run that was killed had left it" for path in output.sweep(is_alone=is_alone)]
        removed += [f"{each.path}: removed, stackc did not write it" for each in foreign]
        removed += [f"{path}: removed, no spec asks for it" for path in output.orphans()]
        written = {tree.root for tree in output.write(prune=job.prune)}
    pairs = zip(job.stacks, job.trees, strict=True)
    lines = [_line(plan, tree, changed=tree.root in written) for stack, tree in pairs for plan in stack.plans]
    return (), [*lines, *removed]


def _cannot_write(output: Path, error: OSError) -> Diagnostic:
    where = error.filename2 or error.filename or output
    message = f"cannot write below {output}: {error.strerror or error} ({where})"
    help_ = Help("each stack's folder is still either the old one or the new one; repeat when the cause is mended")
    return Diagnostic("E0601", message, helps=(help_,))


def _foreign(foreign: Foreign, job: _Job) -> Diagnostic:
    words = f"move {foreign.path} away"
    if foreign.is_prunable:
        words += f", or remove all such files with `{job.repair(prune=True)}`"
    notes = (foreign.why,) if foreign.why else ()
    return Diagnostic("E0603", f"{foreign.path} was not written by stackc", notes=notes, helps=(Help(words),))


def _line(plan: Plan, tree: Tree, *, changed: bool) -> str:
    where = plan.node.name if isinstance(plan.node, CpuNode) else f"{plan.node.count} × {plan.node.title}"
    services = ", ".join(service.name for service in plan.services)
    folder = tree.root / plan.folder
    return f"{plan.tree}: {services} on {where}: {plan.verdict.value} ({folder}{'' if changed else ', unchanged'})"


def _check(job: _Job, form: str) -> tuple[tuple[Diagnostic, ...], list[str]]:
    if not job.output.is_dir():
        return _compare(job, form)
    with turn(job.output, is_writing=False, tell=waiting(form)):
        return _compare(job, form)


def _compare(job: _Job, form: str) -> tuple[tuple[Diagnostic, ...], list[str]]:
    agreement = f"{job.output} is what the specs say"
    foreign = {each.path: each for each in job.files.foreign()}
    repair = job.repair(prune=any(each.is_prunable for each in foreign.values()))
    found = [differs(f"{path}: no spec asks for this folder", repair) for path in job.files.orphans()]
    found += [_foreign(each, job) for each in foreign.values()]
    lines: list[str] = []
    drifts: list[Drift] = []
    for tree in (tree for tree in job.trees if tree.root not in foreign):
        differing = differences(tree)
        drifts += [Drift(tree.root, each.path, each.what) for each in differing if tree.root / each.path not in foreign]
        lines += [line for difference in differing for line in difference.diff.splitlines()]
    if form == "text" and loudness() is not Loudness.VERBOSE:
        return (*found, *summary(drifts, repair)), [] if found or drifts else [agreement]
    return (*found, *each_drift(drifts, repair)), lines or ([] if found or drifts else [agreement])
