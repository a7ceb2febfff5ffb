"""`stackc compile`: all specs, or none. Nothing is written if any of them has an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from compiler.cli.report import FORMAT, finish, spec_paths
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.emit.check import Difference, differences
from compiler.emit.output import foreign_paths, orphaned_trees, write_all
from compiler.emit.tree import Tree, tree_of
from compiler.pipeline import Compiled, compile_stack
from compiler.plan.ir import CpuNode, Plan


@click.command("compile")
@click.argument("specs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 with a diff if the output is not what specs say.")
@click.option("--prune", is_flag=True, help="Also remove files in the output that stackc never wrote.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("generated"), show_default=True
)
@FORMAT
def command(specs: tuple[Path, ...], *, check: bool, prune: bool, output: Path, form: str) -> None:
    """Compile SPECS (default: every stacks/*.yaml) into one folder each below the output."""
    paths = spec_paths(specs)
    compiled, diagnostics = _compile_all(paths)
    trees = tuple(tree_of(output / stack.plan.stack, stack.artifacts) for stack in compiled)
    lines: list[str] = []
    if not has_errors(diagnostics):
        step = _check if check else _write
        found, lines = step(output, trees, [stack.plan for stack in compiled], all_specs=not specs, prune=prune)
        diagnostics += found
    stacks = [{"stack": stack.plan.stack, "verdict": stack.plan.verdict.value} for stack in compiled]
    finish(form, diagnostics, result={"stacks": stacks, "output": str(output)}, lines=lines)


def _compile_all(paths: Sequence[Path]) -> tuple[list[Compiled], tuple[Diagnostic, ...]]:
    compiled: list[Compiled] = []
    diagnostics: tuple[Diagnostic, ...] = ()
    for path in paths:
        try:
            stack, found = compile_stack(path, str(path))
        except OSError as error:
            found = (Diagnostic("E0104", f"{path} cannot be read: {error.strerror}"),)
            stack = None
        diagnostics += found
        if stack is not None:
            compiled.append(stack)
    for name, count in Counter(stack.plan.stack for stack in compiled).items():
        if count > 1:
            raise click.UsageError(f"{count} specs are called {name}: their output would be one folder")
    return compiled, diagnostics


def _write(
    output: Path, trees: Sequence[Tree], plans: Sequence[Plan], *, all_specs: bool, prune: bool
) -> tuple[tuple[Diagnostic, ...], list[str]]:
    foreign = () if prune else foreign_paths(output, trees, all_specs=all_specs)
    if foreign:
        return tuple(_foreign(path) for path in foreign), []
    try:
        changed = write_all(output, trees, all_specs=all_specs, prune=prune)
    except OSError as error:
        where = error.filename2 or error.filename or output
        message = f"cannot write below {output}: {error.strerror or error} ({where})"
        help_ = Help("each stack's folder is still either the old one or the new one; repeat when the cause is mended")
        return (Diagnostic("E0601", message, helps=(help_,)),), []
    written = {tree.root for tree in changed}
    return (), [_line(plan, tree, changed=tree.root in written) for plan, tree in zip(plans, trees, strict=True)]


def _foreign(path: Path) -> Diagnostic:
    help_ = Help(f"move it away, or remove it with `stackc compile --prune`: {path}")
    return Diagnostic("E0603", f"{path} was not written by stackc", helps=(help_,))


def _line(plan: Plan, tree: Tree, *, changed: bool) -> str:
    where = plan.node.name if isinstance(plan.node, CpuNode) else f"{plan.node.count} × {plan.node.title}"
    services = ", ".join(service.name for service in plan.services)
    return f"{plan.stack}: {services} on {where}: {plan.verdict.value} ({tree.root}{'' if changed else ', unchanged'})"


def _check(
    output: Path,
    trees: Sequence[Tree],
    plans: Sequence[Plan],  # noqa: ARG001  the same call as _write
    *,
    all_specs: bool,
    prune: bool,  # noqa: ARG001
) -> tuple[tuple[Diagnostic, ...], list[str]]:
    orphans = orphaned_trees(output, trees) if all_specs else ()
    foreign = foreign_paths(output, trees, all_specs=all_specs)
    found: list[Diagnostic] = [_no_spec(path) for path in orphans]
    repair = "stackc compile --prune" if foreign else "stackc compile"
    lines: list[str] = []
    for tree in trees:
        for difference in differences(tree):
            found.append(_differs(tree, difference, repair))
            lines += difference.diff.splitlines()
    named = {diagnostic.message.partition(":")[0] for diagnostic in found}
    found += [_foreign(path) for path in foreign if str(path) not in named]
    return tuple(found), lines or ([] if found else [f"{output} is what the specs say"])


def _differs(tree: Tree, difference: Difference, repair: str) -> Diagnostic:
    message = f"{tree.root / difference.path}: {difference.what}"
    return Diagnostic("E0602", message, helps=(Help(f"`{repair}` repairs it"),))


def _no_spec(path: Path) -> Diagnostic:
    return Diagnostic("E0602", f"{path}: no spec asks for this folder", helps=(Help("`stackc compile` removes it"),))
