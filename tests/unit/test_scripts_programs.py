"""The Python programs as files: old interpreters, clean trees, nothing of a plan inside."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.pipeline import render_plan
from compiler.plan.ir import Plan
from compiler.render.artifact import EXECUTABLE, PLAIN
from compiler.targets.library import emit_library
from compiler.targets.scripts import emit_scripts
from tests.gateway.machine import gateway_plan
from tests.unit.plan_samples import PATH, one_on_cpu, two_on_one_gpu, write_tree

LIBRARY = {str(artifact.path): artifact for artifact in emit_library()}
MODULES = sorted(path for path in LIBRARY if path.endswith(".py"))
PROGRAMS = (
    "bench",
    "evaluate",
    "preflight",
    "prefetch",
    "smoke-test",
    "wait-ready",
    "install",
    "upgrade",
    "rollback",
    "uninstall",
)


def emitted(plan: Plan) -> dict[str, str]:
    return {artifact.path.name: artifact.text for artifact in emit_scripts(plan)}


@pytest.mark.parametrize("path", MODULES)
def test_python_3_9_can_read_it_and_it_needs_nothing_else(path: str) -> None:
    tree = ast.parse(LIBRARY[path].text, feature_version=(3, 9))
    # Newer annotations are fine as long as nobody evaluates them.
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    called = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [word.arg for call in called for word in call.keywords if word.arg in ("strict", "slots", "kw_only")]
    imported = {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"stack"}


@pytest.mark.parametrize("path", sorted(LIBRARY))
def test_a_file_of_the_library_says_where_it_comes_from(path: str) -> None:
    assert "stackc compile" in LIBRARY[path].text
    assert "DO NOT EDIT" in LIBRARY[path].text


def test_every_program_says_where_it_comes_from() -> None:
    files = emitted(two_on_one_gpu())
    assert set(files) == {*PROGRAMS, "launch-coder", "launch-general"}
    for text in files.values():
        assert "stackc compile" in text
        assert "DO NOT EDIT" in text


def test_programs_and_library_are_the_same_for_every_stack() -> None:
    plans = (two_on_one_gpu(), one_on_cpu(), gateway_plan(), replace(one_on_cpu(), targets=("compose",)))
    first, *others = ({str(each.path): each.text for each in render_plan(plan)} for plan in plans)
    own = {path for path in first if path.startswith("lib/")}
    for other in others:
        assert {path for path in other if path.startswith("lib/")} == own
        same = own | {path for path in set(first) & set(other) if path.startswith("bin/") and "launch-" not in path}
        assert [path for path in same if first[path] != other[path]] == []


def test_programs_can_be_run_and_modules_cannot() -> None:
    for artifact in (*emit_scripts(two_on_one_gpu()), *emit_library()):
        is_program = artifact.path.parts[0] == "bin" or artifact.path.name in ("supervise", "prepare", "keep")
        assert artifact.mode == (EXECUTABLE if is_program else PLAIN), artifact.path


def test_running_a_program_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    tree = write_tree(two_on_one_gpu(), tmp_path / "tree")
    before = sorted(tree.rglob("*"))
    for name in (*(f"bin/{name}" for name in PROGRAMS), "lib/supervise", "lib/keep"):
        environment = {"PATH": PATH, "HOME": str(tmp_path), "LANG": "C"}
        done = subprocess.run([str(tree / name), "--help"], env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"xit codes" in done.stdout, name
    assert sorted(tree.rglob("*")) == before


@pytest.mark.parametrize("name", [*PROGRAMS, "rollout", "gateway", "launch-coder"])
def test_a_tree_that_was_copied_without_its_library_says_what_to_copy(tmp_path: Path, name: str) -> None:
    tree = write_tree(gateway_plan(), tmp_path / "tree")
    shutil.rmtree(tree / "lib")
    (tree / "lib").symlink_to("../_lib/0123456789ab")
    command = [str(tree / "bin" / name), "--help"]
    done = subprocess.run(command, env={"PATH": PATH, "HOME": "/"}, capture_output=True, text=True, check=False)
    told = f"{name}: lib is a link to {tmp_path}/_lib/0123456789ab, which is not here: "
    remedy = "copy the tree with cp -rL or rsync -aL, or copy _lib beside it\n"
    assert (done.returncode, done.stdout, done.stderr) == (4, "", told + remedy)


@pytest.mark.parametrize("name", [*PROGRAMS, "rollout", "gateway", "launch-coder"])
def test_a_library_that_lies_elsewhere_knows_the_tree_of_the_program(tmp_path: Path, name: str) -> None:
    """Two links on the way, as of `current` and of `lib`; the plan is the tree's, and nothing is left behind."""
    tree = write_tree(gateway_plan(), tmp_path / "trees/duo")
    (tmp_path / "_lib").mkdir()
    (tree / "lib").rename(tmp_path / "_lib/0123456789ab")
    (tree / "lib").symlink_to("../../_lib/0123456789ab")
    (tmp_path / "current").symlink_to("trees/duo")
    before = sorted(tmp_path.rglob("*"))
    words = {"install": ["--root", "/nowhere", "--dry-run"], "bench": ["nobody"], "evaluate": ["/nowhere"]}
    words |= {"upgrade": words["install"], "rollback": words["install"], "uninstall": words["install"]}
    words |= {"rollout": ["status", "--runtime", "process"], "gateway": ["check"], "launch-coder": ["--json"]}
    command = [str(tmp_path / "current/bin" / name), *words.get(name, ["nobody"])]
    environment = {"PATH": PATH, "HOME": "/nonexistent", "STACKC_NGINX": "/nowhere"}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "plan" not in done.stderr, "it reads the plan of another folder, or none"
    assert "/_lib" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    tree = write_tree(two_on_one_gpu(), tmp_path / "tree")
    read, write = os.pipe()
    os.close(read)
    environment = {"PATH": PATH, "HOME": str(tmp_path), "STACKC_VLLM": "/nowhere"}
    with os.fdopen(write, "wb") as closed:
        command = [str(tree / "bin" / "preflight"), "--json"]
        done = subprocess.run(command, env=environment, stdout=closed, stderr=subprocess.PIPE, check=False)
    assert done.stderr == b""
