"""Whatever is compiled, killed, edited or linked away in an output: no tree loses what it shares, nobody a file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from compiler.emit.disk import make_folders
from compiler.emit.library import STORE
from compiler.emit.manifest import manifest_of, with_library_manifest
from compiler.emit.output import Output
from compiler.emit.tree import Tree, tree_of
from compiler.render.artifact import EXECUTABLE, LIBRARY, Artifact
from tests.examples import examples
from tests.output.kills import count_changes, in_child, snapshot

# The second has a tree for each of two nodes, one of which is called as libraries are in trees.
STACKS = {"one": (".",), "pair": ("lib", "gpu01"), "two": (".",)}
RELEASES = (1, 2, 3)


def artifacts(stack: str, release: int, text: str) -> Iterator[Artifact]:
    plan = {"schema": 1, "stack": stack, "engine": {"vllm": "1", "image": "x"}, "services": [], "text": text}
    for node in STACKS[stack]:
        of_node = with_library_manifest((
            Artifact(PurePosixPath("plan.json"), json.dumps(plan) + "\n"),
            Artifact(PurePosixPath("bin/run"), f"#!/bin/sh\n# {text}\n", EXECUTABLE),
            Artifact(LIBRARY / "stack/a.py", f"# release {release}\n"),
            Artifact(LIBRARY / "lists/b.txt", "the same in all\n"),
        ))  # fmt: skip
        listed = of_node if node == "." else (*of_node, manifest_of(of_node))
        yield from (replace(one, path=PurePosixPath(node) / one.path) for one in listed)


def output_of(root: Path, names: tuple[str, ...], release: int, text: str, *, is_all: bool) -> Output:
    trees: list[Tree] = [tree_of(root / name, artifacts(name, release, text)) for name in names]
    return Output(root, trees, all_specs=is_all)


def compile_here(output: Output, *, prune: bool = False, force: bool = False) -> bool:
    """What `stackc compile` does; whether it wrote."""
    make_folders(output.root)
    if [each for each in output.foreign() if not (prune and each.is_prunable)] or (not force and output.edited()):
        return False
    output.sweep(is_alone=True)
    output.write(prune=prune, force=force)
    return True


def is_whole(tree: Path) -> bool:
    """Whether a tree is what its manifest lists, through its links."""
    try:
        lines = (tree / "SHA256SUMS").read_text().splitlines()
        return all(hashlib.sha256((tree / line[66:]).read_bytes()).hexdigest() == line[:64] for line in lines)
    except OSError:
        return False


def whole_trees(root: Path) -> set[str]:
    return {name for name in STACKS if is_whole(root / name)}


@contextmanager
def place() -> Iterator[tuple[Path, Path]]:
    """An output, and a folder beside it that is nobody's business, with the names that a library has."""
    with tempfile.TemporaryDirectory() as name:
        victim = Path(name) / "victim"
        (victim / "stack").mkdir(parents=True)
        (victim / "stack/a.py").write_text("mine")
        (victim / "plan.json").write_text("mine")
        yield Path(name) / "generated", victim


def links_below(root: Path) -> list[Path]:
    return [*root.glob("*/lib"), *root.glob("pair/*/lib")]


def harm(root: Path, victim: Path, kind: str, pick: int) -> dict[Path, bytes]:
    """What somebody does in the output; what must not be lost."""
    links = sorted(path for path in links_below(root) if path.is_symlink())
    libraries = sorted((root / STORE).glob("?" * 12)) if (root / STORE).is_dir() else []
    chosen = libraries if kind in ("note", "edit", "damage", "gone") else links
    if not chosen:
        return {}
    path = chosen[pick % len(chosen)]
    if kind == "gone":
        shutil.rmtree(path)
    elif kind == "damage":
        (path / ("SHA256SUMS", "stack/a.py")[pick % 2]).unlink(missing_ok=True)
    elif kind in ("note", "edit") and path.is_dir():
        file = path / ("stack/mine" if kind == "note" else "stack/a.py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"mine {pick}")
        return {file: file.read_bytes()}
    elif kind == "unlinked":
        path.unlink()
    elif kind == "led away":
        path.unlink()
        path.symlink_to(os.path.relpath(victim, path.parent) if pick % 2 else victim)
    elif kind == "dereferenced" and path.exists():
        real = path.resolve()
        path.unlink()
        shutil.copytree(real, path)
    return {}


NAMES = st.lists(st.sampled_from(sorted(STACKS)), unique=True, min_size=1).map(tuple)
RUNS = st.tuples(NAMES, st.sampled_from(RELEASES), st.sampled_from("ab"), st.booleans())
HARMS = st.tuples(
    st.sampled_from(["note", "edit", "damage", "gone", "unlinked", "led away", "dereferenced"]), st.integers(0, 9)
)


@given(steps=st.lists(RUNS | HARMS, min_size=2, max_size=8))
@examples(15)
def test_no_tree_loses_what_it_shares_and_nobody_a_file(steps: list[tuple[object, ...]]) -> None:
    with place() as (root, victim):
        before, kept = snapshot(victim), dict[Path, bytes]()
        for step in steps:
            whole = whole_trees(root)
            if len(step) == 2:
                kept |= harm(root, victim, *step)  # type: ignore[arg-type]
                kept = {path: content for path, content in kept.items() if path.exists()}
                continue
            names, release, text, is_all = step
            output = output_of(root, names, release, text, is_all=is_all)  # type: ignore[arg-type]
            written = compile_here(output)
            assert {path: path.read_bytes() for path in kept if path.exists()} == kept
            gone = set(STACKS) - set(names) if is_all and written else set()  # type: ignore[call-overload]
            assert whole - gone <= whole_trees(root)
            assert not written or set(names) <= whole_trees(root)  # type: ignore[call-overload]
        assert snapshot(victim) == before


@given(steps=st.lists(RUNS | HARMS, max_size=6), last=RUNS)
@examples(10)
def test_what_may_lose_everything_leaves_what_a_first_run_writes(steps: list[tuple[object, ...]], last: object) -> None:
    """But of links in the place of libraries' folders, which are not made here."""
    with place() as (root, victim):
        before = snapshot(victim)
        for step in steps:
            if len(step) == 2:
                harm(root, victim, *step)  # type: ignore[arg-type]
            else:
                names, release, text, is_all = step
                compile_here(output_of(root, names, release, text, is_all=is_all))  # type: ignore[arg-type]
        names, release, text, _ = last  # type: ignore[misc]
        assert compile_here(output_of(root, names, release, text, is_all=True), prune=True, force=True)
        fresh = root.with_name("fresh")
        assert compile_here(output_of(fresh, names, release, text, is_all=True))
        assert snapshot(root) == snapshot(fresh)
        assert snapshot(victim) == before
        assert not output_of(root, names, release, text, is_all=True).write(prune=False, force=False)


@given(first=RUNS, second=RUNS, moment=st.integers(0, 120))
@examples(10)
def test_a_run_that_is_killed_leaves_whole_trees_and_the_next_one_mends_the_rest(
    first: tuple[tuple[str, ...], int, str, bool], second: tuple[tuple[str, ...], int, str, bool], moment: int
) -> None:
    with place() as (root, _):
        compile_here(output_of(root, *first[:3], is_all=first[3]))
        whole = whole_trees(root)
        output = output_of(root, *second[:3], is_all=second[3])
        in_child(lambda: (count_changes(moment), compile_here(output)))
        gone = set(STACKS) - set(second[0]) if second[3] else set()
        assert whole - gone <= whole_trees(root)
        assert {path.name for path in root.iterdir() if path.name in STACKS} <= whole_trees(root)
        assert compile_here(output_of(root, *second[:3], is_all=True))
        fresh = root.with_name("fresh")
        assert compile_here(output_of(fresh, *second[:3], is_all=True))
        assert snapshot(root) == snapshot(fresh)
