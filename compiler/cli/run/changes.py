"""What specs change in an output: the versions that are compared, wherever the older one comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from compiler.compare.differ import TreeDiff, differences
from compiler.compare.versions import Version, versions_of
from compiler.emit.content import files_at, files_on_disk
from compiler.emit.tree import tree_of
from compiler.pipeline import Compiled


def changes_on_disk(output: Path, stacks: Sequence[Compiled], others: Iterable[str] = ()) -> tuple[TreeDiff, ...]:
    """From the trees on disk to those that were compiled.

    Args:
        others: names of trees that no spec asks for.

    Raises:
        OSError: a folder cannot be read.
    """
    names = [stack.stack for stack in stacks]
    return differences(versions_of(files_on_disk(output, (*names, *others)), ()), compiled_versions(stacks))


def changes_since(ref: str, output: Path, stacks: Sequence[Compiled], *, all_specs: bool) -> tuple[TreeDiff, ...]:
    """From the trees of a commit to those that were compiled.

    Args:
        all_specs: whether these are all stacks there should be, so that others are gone.

    Raises:
        NoHistoryError: the commit cannot be read.
    """
    names = {stack.stack for stack in stacks}
    found = versions_of(files_at(ref, output), ())
    old = {tree: version for tree, version in found.items() if all_specs or tree.partition("/")[0] in names}
    return differences(old, compiled_versions(stacks))


def compiled_versions(stacks: Iterable[Compiled]) -> dict[str, Version]:
    """The trees that were compiled, each with the manifest that is written into it."""
    trees = {stack.stack: tree_of(Path(stack.stack), stack.artifacts) for stack in stacks}
    files = {f"{name}/{path}": content for name, tree in trees.items() for path, content in tree.contents.items()}
    return versions_of(files, ())
