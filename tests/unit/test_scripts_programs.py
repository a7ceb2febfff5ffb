"""The Python programs as files: old interpreters, clean trees, nothing of a plan inside."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from compiler.plan.ir import Plan
from compiler.render.artifact import EXECUTABLE, PLAIN
from compiler.render.environment import template_folder
from compiler.targets.scripts import emit_scripts
from tests.unit.plan_samples import PATH, one_on_cpu, two_on_one_gpu, write_tree

PROGRAMS = (
    "bench",
    "evaluate",
    "preflight",
    "prefetch",
    "smoke-test",
    "supervise",
    "wait-ready",
    "install",
    "upgrade",
    "rollback",
    "uninstall",
)


def emitted(plan: Plan) -> dict[str, str]:
    return {artifact.path.name: artifact.text for artifact in emit_scripts(plan)}


@pytest.mark.parametrize("path", sorted(template_folder().glob("scripts/*.py")), ids=lambda path: path.name)
def test_python_3_9_can_read_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    # Newer annotations are fine as long as nobody evaluates them.
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    called = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [word.arg for call in called for word in call.keywords if word.arg in ("strict", "slots", "kw_only")]


def test_every_file_is_emitted_and_says_where_it_comes_from() -> None:
    files = emitted(two_on_one_gpu())
    # Two launch scripts, the supervisor, and the first evaluation.
    assert len(files) == 2 + 1 + 1 + len(list(template_folder().glob("scripts/*.py")))
    for text in files.values():
        assert "stackc compile" in text
        assert "DO NOT EDIT" in text


def test_programs_are_the_same_for_every_stack() -> None:
    first, second = emitted(two_on_one_gpu()), emitted(one_on_cpu())
    for name in set(first) & set(second):
        assert first[name] == second[name]


def test_programs_can_be_run_and_modules_cannot() -> None:
    for artifact in emit_scripts(two_on_one_gpu()):
        assert artifact.mode == (PLAIN if artifact.path.suffix in (".py", ".yaml") else EXECUTABLE)


def test_running_a_program_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    tree = write_tree(two_on_one_gpu(), tmp_path / "tree")
    before = sorted(tree.rglob("*"))
    for name in PROGRAMS:
        command = [str(tree / "bin" / name), "--help"]
        environment = {"PATH": PATH, "HOME": str(tmp_path), "LANG": "C"}
        assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    assert sorted(tree.rglob("*")) == before


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    tree = write_tree(two_on_one_gpu(), tmp_path / "tree")
    read, write = os.pipe()
    os.close(read)
    environment = {"PATH": PATH, "HOME": str(tmp_path), "STACKC_VLLM": "/nowhere"}
    with os.fdopen(write, "wb") as closed:
        command = [str(tree / "bin" / "preflight"), "--json"]
        done = subprocess.run(command, env=environment, stdout=closed, stderr=subprocess.PIPE, check=False)
    assert done.stderr == b""
