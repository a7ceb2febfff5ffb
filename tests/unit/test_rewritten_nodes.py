"""A change on one node rewrites that node's files: whoever copies trees to machines copies no others."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from compiler.emit.manifest import manifest_of, with_library_manifest
from compiler.emit.output import Output
from compiler.emit.tree import tree_of
from compiler.render.artifact import EXECUTABLE, LIBRARY, Artifact


def write(root: Path, **nodes: str) -> None:
    """A stack of these nodes, each with a file of this text."""
    artifacts: list[Artifact] = []
    for node, text in nodes.items():
        tree = with_library_manifest((
            Artifact(PurePosixPath("plan.json"), f'{{"schema": 1, "stack": "s", "text": "{text}"}}\n'),
            Artifact(PurePosixPath("bin/run"), "#!/bin/sh\n", EXECUTABLE),
            Artifact(LIBRARY / "a.py", "# shared\n"),
        ))  # fmt: skip
        artifacts += (replace(one, path=PurePosixPath(node) / one.path) for one in (*tree, manifest_of(tree)))
    Output(root, [tree_of(root / "s", artifacts)], all_specs=False).write(prune=False, force=False)


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Which file lies at each path, and since when."""
    found = (path for path in sorted((root / "s").rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(root / "s")): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def test_files_of_other_nodes_stay_the_files_that_they_are(tmp_path: Path) -> None:
    write(tmp_path, a="one", b="two")
    before = files(tmp_path)
    write(tmp_path, a="one", b="changed")
    after = files(tmp_path)
    differing = {path for path in after if after[path] != before.get(path)}
    assert differing == {"SHA256SUMS", "b/SHA256SUMS", "b/plan.json"}
    assert (tmp_path / "s/b/plan.json").read_text() == '{"schema": 1, "stack": "s", "text": "changed"}\n'
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "s").rglob("plan.json")), "nothing is left behind"


def test_a_file_that_has_another_name_is_written_anew(tmp_path: Path) -> None:
    """Whoever keeps trees of other days by second names of their files would see an edit in all of them."""
    write(tmp_path, a="one", b="two")
    kept = tmp_path / "kept.json"
    os.link(tmp_path / "s/a/plan.json", kept)
    write(tmp_path, a="one", b="changed")
    assert not kept.samefile(tmp_path / "s/a/plan.json")
    assert kept.read_text() == (tmp_path / "s/a/plan.json").read_text()


def test_a_file_with_another_mode_is_written_anew(tmp_path: Path) -> None:
    write(tmp_path, a="one", b="two")
    (tmp_path / "s/a/bin/run").chmod(0o644)
    write(tmp_path, a="one", b="changed")
    assert os.access(tmp_path / "s/a/bin/run", os.X_OK)
