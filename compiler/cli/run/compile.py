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

from compiler.checks.read import lock_path
from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.report import finish, tell_first, unreadable, waiting
from compiler.cli.run.changes import changes_on_disk
from compiler.cli.run.neighbours import check_neighbours
from compiler.cli.run.specs import spec_paths
from compiler.compare.differ import TreeDiff
from compiler.compare.render import data as differences_data
from compiler.compare.render import lines as difference_lines
from compiler.compare.render import some
from compiler.diagnostics import Diagnostic, Help, Label, Position, SourceText, Span, has_errors
from compiler.diagnostics.levels import Levels
from compiler.diagnostics.looking import Looking
from compiler.diagnostics.render import at_a_glance
from compiler.emit.check import Difference, differences
from compiler.emit.disk import make_folders
from compiler.emit.edited import Edited
from compiler.emit.foreign import Foreign
from compiler.emit.output import Output
from compiler.emit.place import refusal
from compiler.emit.tree import Tree, tree_of
from compiler.emit.turns import turn
from compiler.pipeline import Compiled, compile_stack
from compiler.plan.ir import CpuNode, Plan
from compiler.render.environment import load_overrides

_MOST_NOTES = 4


def run(
    specs: tuple[Path, ...],
    *,
    check: bool,
    prune: bool,
    force: bool,
    output: Path,
    templates: Path | None,
    assume: str | None,
    looking: Looking,
    levels: SpecLevels,
    form: str,
) -> NoReturn:
    """Compile specs, tell what came of it, and end the run."""
    paths = spec_paths(specs)
    inputs = [*paths, *map(lock_path, paths), *([] if templates is None else [templates])]
    check_place(output, inputs)
    ask = partial(compile_stack, assumes_full=assume == "full", looking=looking)
    compiled, diagnostics = compile_with(templates, paths, ask, levels)
    check_place(output, [path for stack in compiled for path in stack.inputs])
    trees = tuple(tree_of(output / stack.stack, stack.artifacts) for stack in compiled)
    asked = _Asked(prune=prune, force=force)
    job = _Job(output, trees, tuple(compiled), specs, asked, assume=assume, templates=templates, levels=levels)
    lines: list[str] = []
    result = {"stacks": [{"stack": stack.stack, "verdict": stack.verdict.value} for stack in compiled]}
    if not has_errors(diagnostics):
        try:
            if check:
                found, lines, changed = _check(job, form)
                found = found if form != "text" or loudness() is Loudness.VERBOSE else tuple(at_a_glance(found))
                result["differences"] = differences_data(changed)
                tell_first(form, difference_lines(changed, is_whole=loudness() is Loudness.VERBOSE))
            else:
                found, lines = _write(job, form)
        except OSError as error:
            found = (_cannot_write(output, error),)
        diagnostics += found
    lines = [] if loudness() is Loudness.QUIET else lines
    finish(form, diagnostics, result=result | {"output": str(output)}, lines=lines)


# What compiling one spec comes to.
_Answer = tuple[Compiled | None, tuple[Diagnostic, ...]]


def check_place(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is not for generated trees alone.

    Raises:
        click.UsageError: it is such a place.
    """
    try:
        reason = refusal(output, inputs)
    except FileNotFoundError as error:
        raise click.UsageError("the working folder is gone") from error
    if reason is not None:
        raise click.UsageError(f"--output {output} is not for generated trees alone: {reason}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What may be lost."""

    prune: bool
    force: bool


@dataclass(frozen=True, slots=True)
class _Job:
    """What the command line asks for. Without named specs, the trees are all that there should be."""

    output: Path
    trees: tuple[Tree, ...]
    stacks: tuple[Compiled, ...]
    specs: tuple[Path, ...]
    asked: _Asked
    assume: str | None
    templates: Path | None
    levels: Levels

    @property
    def all_specs(self) -> bool:
        return not self.specs

    @property
    def files(self) -> Output:
        return Output(self.output, self.trees, all_specs=self.all_specs)

    def repair(self, *, prune: bool = False, force: bool = False) -> str:
        """The command that makes the output what the specs say."""
        default = self.output == Path("generated")
        words = ["stackc", "compile", *map(str, self.specs), *(() if default else ("--output", str(self.output)))]
        words += [] if self.assume is None else ["--assume", self.assume]
        words += [] if self.templates is None else ["--templates", str(self.templates)]
        words += self.levels.words
        words += [word for word, is_needed in (("--prune", prune), ("--force", force)) if is_needed]
        return shlex.join(words)


def compile_with(
    templates: Path | None, paths: Sequence[Path], ask: Callable[..., _Answer], levels: SpecLevels
) -> tuple[list[Compiled], tuple[Diagnostic, ...]]:
    """Every spec that compiles with the templates of a folder, and what was found, in them too.

    Raises:
        click.UsageError: two have one name.
    """
    overrides, unusable = (None, ()) if templates is None else load_overrides(templates)
    usable = None if has_errors(unusable) else overrides
    compiled, found = _compile_all(paths, partial(ask, overrides=usable), levels)
    # A template that fails for one stack mostly fails for all.
    return compiled, tuple(dict.fromkeys((*levels.applied(unusable), *found)))


def _compile_all(
    paths: Sequence[Path],
    ask: Callable[[Path, str], _Answer],
    levels: SpecLevels,
) -> tuple[list[Compiled], tuple[Diagnostic, ...]]:
    """Every spec that compiles, and what was found.

    Raises:
        click.UsageError: two have one name.
    """
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
        refused = [_foreign(each, job) for each in foreign if not (job.asked.prune and each.is_prunable)]
        refused += [] if job.asked.force else [_edited(each, job) for each in output.edited()]
        if refused:
            return tuple(refused), []
        removed = [f"{path}: removed, a run that was killed had left it" for path in output.sweep(is_alone=is_alone)]
        removed += [f"{each.path}: removed, stackc did not write it" for each in foreign]
        removed += [f"{path}: removed, no spec asks for it" for path in output.orphans()]
        removed += [f"{path}: removed, no tree needs it" for path in (output.unneeded() if is_alone else ())]
        changed = output.write(prune=job.asked.prune, force=job.asked.force, is_alone=is_alone)
        written = {tree.root for tree in changed}
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
    where = plan.node.name if isinstance(plan.node, CpuNode) else plan.node.described()
    services = ", ".join(service.name for service in plan.services)
    folder = tree.root / plan.folder
    return f"{plan.tree}: {services} on {where}: {plan.verdict.value} ({folder}{'' if changed else ', unchanged'})"


_Found = tuple[tuple[Diagnostic, ...], list[str], tuple[TreeDiff, ...]]


def _check(job: _Job, form: str) -> _Found:
    if not job.output.is_dir():
        return _compare(job)
    with turn(job.output, is_writing=False, tell=waiting(form)):
        return _compare(job)


def _compare(job: _Job) -> _Found:
    output = job.files
    foreign = {each.path: each for each in output.foreign()}
    edited = {each.path: each for each in output.edited()}
    repair = job.repair(prune=any(each.is_prunable for each in foreign.values()), force=bool(edited))
    orphans = output.orphans()
    found = [_differs(f"{path}: no spec asks for this folder", (), repair) for path in orphans]
    found += [_differs(f"{path}: no tree needs this library", (), repair) for path in _unneeded(job, output)]
    found += [_foreign(each, job) for each in foreign.values()]
    found += [_edited(each, job) for each in edited.values()]
    lines: list[str] = []
    is_whole = loudness() is Loudness.VERBOSE
    for tree in (tree for tree in (*output.libraries, *job.trees) if tree.root not in foreign):
        differing = differences(tree)
        others = [each for each in differing if not {tree.root / each.path} & {*foreign, *edited}]
        found += [_tree_differs(tree, others, repair)] if others else []
        lines += [line for difference in differing for line in difference.diff.splitlines() if is_whole]
    changed = changes_on_disk(job.output, job.stacks, (path.name for path in orphans))
    return tuple(found), lines or ([] if found else [f"{job.output} is what the specs say"]), changed


def _unneeded(job: _Job, output: Output) -> tuple[Path, ...]:
    return output.unneeded() if job.output.is_dir() and job.all_specs else ()


def _tree_differs(tree: Tree, found: Sequence[Difference], repair: str) -> Diagnostic:
    if len(found) == 1:
        return _differs(f"{tree.root / found[0].path}: {found[0].what}", (), repair)
    by_what: dict[str, list[str]] = {}
    for each in found:
        by_what.setdefault(each.what, []).append(each.path)
    notes = tuple(f"{what}: {some(paths)}" for what, paths in sorted(by_what.items()))
    count = len({each.path for each in found})
    said = "what its name says" if tree.is_library else "what the spec says"
    return _differs(f"{tree.root}: {count} files are not {said}", notes[:_MOST_NOTES], repair)


def _differs(message: str, notes: tuple[str, ...], repair: str) -> Diagnostic:
    return Diagnostic("E0602", message, notes=notes, helps=(Help(f"`{repair}` repairs it"),))


def _edited(edited: Edited, job: _Job) -> Diagnostic:
    source = SourceText(str(edited.path), edited.text)
    start, end = Position(edited.line, 1), Position(edited.line, len(source.line(edited.line)) + 1)
    label = Label(Span(source, start, end), "not what will be written here")
    kept = Help(
        "say it in the spec (`engine_args`, `patches`) or in a template of `--templates`, and take the edit back"
    )
    lost = Help(f"`{job.repair(force=True)}` writes over it")
    return Diagnostic("E0606", f"{edited.path} was edited by hand", label, helps=(kept, lost))
